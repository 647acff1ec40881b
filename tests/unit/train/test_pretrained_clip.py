"""The study from a pretrained CLIP, end to end on a small local checkpoint of the same architecture.

Open_clip's ViT-B/32 with projections in both towers, and SigLIP, whose pooled image tower has none.
"""

from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.errors import InputError
from evenclip.evaluate.options import EvaluateOptions, Task
from evenclip.evaluate.run import evaluate_set
from evenclip.features import FeatureOptions, compute_features
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.study.study import load_study
from evenclip.train import TrainOptions, train_models
from support.tiny_methods import write_methods_folder
from support.tiny_training import write_model

STUDY = "config/studies/photos_clip.yaml"
SIGLIP = {
    "custom_text": True,
    "init_logit_bias": -10,
    "vision_cfg": {
        "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "map", "timm_proj": "none", "image_size": 224,
        "timm_model_pretrained": False,
    },
    "embed_dim": 192,
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 192, "heads": 2, "layers": 1, "proj_bias": True,
                 "no_causal_mask": True, "pool_type": "last"},
}  # fmt: skip
START = {
    "clip": {},
    "siglip": {"objective": "siglip", "freeze": ["image", "text_trunk"]},
}
"""What docs/photos.md says to change in the study's block `train`."""


@pytest.fixture(scope="module", params=START)
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A folder with data and a local checkpoint with random weights, and the changes of the study's training."""
    root = write_methods_folder(tmp_path_factory.mktemp(request.param))
    (root / "graph" / "manifest.json").write_text('{"fingerprint": "graph"}')
    torch.manual_seed(1)
    (root / "checkpoint").mkdir()
    config = write_model(root / "small.json", **(SIGLIP if request.param == "siglip" else {}))
    save_clip(create_clip(str(config)), root / "checkpoint")
    return root, START[request.param]


def test_every_run_of_the_study_goes_from_checkpoint_to_metrics(start: tuple[Path, dict], tmp_path: Path):
    folder, changes = start
    model = str(folder / "checkpoint")
    compute_features(model, folder / "data", tmp_path / "features", FeatureOptions(), [], tmp_path / "state")
    small = {"model": model, "init": model, "samples_seen": 64, "batch_size": 16, "device": "cpu"} | changes
    trained = {}
    for name, run in load_study(STUDY).runs.items():
        options = run.options.model_dump() | small
        if options["fcl"]:
            options["fcl"]["prompts"] = str(folder / "colors.yaml")
        if options["simclip"]:
            options["simclip"]["cluster_size"] = 4
        train_models(
            folder / "data", folder / "weights.parquet", {0: tmp_path / name}, tmp_path / "state",
            TrainOptions.parse(options, name), labels=folder / "l.parquet", graph=folder / "graph",
            features=tmp_path / "features",
        )  # fmt: skip
        trained[name] = load_file(tmp_path / name / "model.safetensors")
    before = load_clip(model).module.state_dict()
    for name, weights in trained.items():
        assert any("proj" in key for key in weights)
        assert any(not torch.equal(value, before[key]) for key, value in weights.items()), name
    runs = {str(tmp_path / "baseline"): tmp_path / "embed"}
    embed_sets(runs, [EmbedSet("s", folder / "data", ())], EmbedOptions(device="cpu"), {"s": tmp_path / "features"})
    document = evaluate_set(
        folder / "data", [tmp_path / "embed" / "s.npz"], "s", [Task.from_argument("retrieval")],
        tmp_path / "s.json", 0, EvaluateOptions(),
    )  # fmt: skip
    assert any(row["metric"] == "retrieval/s/image_to_text_recall_at_1" for row in document["metrics"])


def test_a_pooled_tower_has_no_trunk_to_be_frozen(tmp_path: Path):
    root = write_methods_folder(tmp_path / "root")
    (root / "checkpoint").mkdir()
    save_clip(create_clip(str(write_model(root / "small.json", **SIGLIP))), root / "checkpoint")
    model = str(root / "checkpoint")
    compute_features(model, root / "data", tmp_path / "features", FeatureOptions(), [], tmp_path / "state")
    options = {"model": model, "init": model, "batch_size": 16, "samples_seen": 16, "device": "cpu"}
    options = TrainOptions.parse(options | {"freeze": ["image_trunk", "text_trunk"]}, "test")
    with pytest.raises(InputError, match="image tower has no projection of its own"):
        train_models(
            root / "data", root / "weights.parquet", {0: tmp_path / "run"}, tmp_path / "state", options,
            features=tmp_path / "features",
        )  # fmt: skip


def test_without_a_network_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to download weights for tag 'openai'. Last error: see the\nlong story")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(InputError, match="download weights for tag 'openai'\n.*give the path of a checkpoint"):
        load_clip("ViT-B-32-quickgelu:openai")
