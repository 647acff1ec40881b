"""Training of projections on cached trunk features: the same as with the towers, and many seeds at once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.errors import InputError
from evenclip.features import FeatureOptions, compute_features
from evenclip.features.encoder import TrunkEncoder
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.train import TrainOptions, train_models
from evenclip.train.checkpoint import SavedState
from evenclip.train.engine import Engine
from support.tiny_methods import write_methods_folder

FROZEN = ["image_trunk", "text_trunk"]
METHODS = {
    "plain": {},
    "siglip": {"objective": "siglip"},
    "simclip": {"simclip": {"cluster_size": 4, "share": 0.5}, "mask_true": True},
    "simclip_by_image": {"simclip": {"cluster_size": 4, "share": 0.5, "modality": "image"}},
    "ahnm": {"ahnm": {}},
    "masks": {"mask_true": True},
    "two_stages": {"stages": {"first": "first.parquet", "share": 0.3}},
    "micro_batches": {"micro_batch_size": 5},
    "moving_average": {"ema": 0.9},
    "fcl": {"fcl": {"prompts": "colors.yaml", "weight": 0.5}},
    "triples_as_captions": {"knowledge": {"as_captions": 0.2}},
}
METHODS["together"] = METHODS["simclip"] | METHODS["ahnm"] | METHODS["fcl"] | METHODS["triples_as_captions"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, weights, labels, a graph, prompts, a trained model, and its trunks' features."""
    root = write_methods_folder(tmp_path_factory.mktemp("projections"))
    (root / "graph" / "manifest.json").write_text('{"fingerprint": "graph"}')
    torch.manual_seed(5)
    (root / "model").mkdir()
    save_clip(create_clip(str(root / "tiny.json")), root / "model")
    for dtype in ("float32", "float16"):
        options = FeatureOptions(dtype=dtype, device="cpu")
        compute_features(str(root / "model"), root / "data", root / dtype, options, [], root / "state")
    return root


def train(folder: Path, out: Path, seeds: tuple[int, ...] = (0,), cached: str | None = "float32", **options) -> Path:
    """Train with each seed into `<out>/<seed>`, on cached features of this type, or with the whole towers."""
    model = str(folder / "model")
    plain = {"model": model, "init": model, "fresh_projections": True, "freeze": FROZEN, "batch_size": 16}
    plain |= {"samples_seen": 192, "lr": 3e-3, "precision": "fp32", "device": "cpu", "log_every": 4}
    for method, file in (("fcl", "prompts"), ("stages", "first")):
        if method in options:
            options[method] = options[method] | {file: str(folder / options[method][file])}
    parsed = TrainOptions.parse(plain | options, "test")
    outs = {seed: out / str(seed) for seed in seeds}
    inputs = {"labels": folder / "l.parquet", "graph": folder / "graph"}
    features = folder / cached if cached else None
    train_models(folder / "data", folder / "weights.parquet", outs, out / "state", parsed, **inputs, features=features)
    return out


@pytest.mark.parametrize("name", METHODS)
def test_cached_training_is_that_of_the_whole_towers(folder: Path, tmp_path: Path, name: str):
    cached = load_file(train(folder, tmp_path / "a", **METHODS[name]) / "0" / "model.safetensors")
    whole = load_file(train(folder, tmp_path / "b", cached=None, **METHODS[name]) / "0" / "model.safetensors")
    start = load_file(folder / "model" / "model.safetensors")
    for weight, value in cached.items():
        torch.testing.assert_close(value, whole[weight], atol=2e-5, rtol=1e-4)
    assert not torch.allclose(cached["visual.proj"], start["visual.proj"], atol=1e-2)
    assert all(torch.equal(whole[weight], start[weight]) for weight in whole.keys() - cached.keys())


def test_half_precision_features_train_to_three_digits(folder: Path, tmp_path: Path):
    half, single = (
        load_file(train(folder, tmp_path / dtype, cached=dtype) / "0" / "model.safetensors")["visual.proj"]
        for dtype in ("float16", "float32")
    )
    assert not torch.equal(half, single)
    torch.testing.assert_close(half, single, atol=3e-3, rtol=0)


@pytest.mark.parametrize("cached", ["float16", None])
@pytest.mark.parametrize("name", ["plain", "fcl", "ahnm"])
def test_seeds_together_are_each_as_alone(folder: Path, tmp_path: Path, name: str, cached: str | None):
    together = train(folder, tmp_path / "together", (0, 3, 1), cached, **METHODS[name])
    for seed in (0, 3, 1):
        alone = train(folder, tmp_path / f"alone{seed}", (seed,), cached, **METHODS[name])
        weights = [(out / str(seed) / "model.safetensors").read_bytes() for out in (together, alone)]
        assert weights[0] == weights[1]
    assert {path.name for path in (tmp_path / "together" / "state").glob("*/")} <= {"texts", "finished"}


def test_finished_seeds_are_not_trained_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = train(folder, tmp_path / "whole", (0, 1))
    step, steps = Engine.step, []

    def stop_in_second(self: Engine):
        steps.append(self.seed)
        if steps.count(1) == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", stop_in_second)
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "again", (0, 1))
    steps.clear()
    monkeypatch.setattr(Engine, "step", lambda self: (steps.append(self.seed), step(self))[1])
    again = train(folder, tmp_path / "again", (0, 1))
    assert set(steps) == {1}
    for seed in "01":
        weights = [(out / seed / "model.safetensors").read_bytes() for out in (whole, again)]
        assert weights[0] == weights[1]


def test_cached_features_embed_as_the_whole_model(folder: Path, tmp_path: Path):
    out = train(folder, tmp_path / "runs", (0, 1))
    sets = [EmbedSet("s", folder / "data", (folder / "colors.yaml",))]
    runs = {str(out / str(seed)): seed for seed in (0, 1)}
    embed_sets({run: tmp_path / f"cached{seed}" for run, seed in runs.items()}, sets, EmbedOptions(device="cpu"),
               {"s": folder / "float32"})  # fmt: skip
    embed_sets({run: tmp_path / f"whole{seed}" for run, seed in runs.items()}, sets, EmbedOptions(device="cpu"))
    for seed in (0, 1):
        cached, whole = (np.load(tmp_path / f"{name}{seed}" / "s.npz") for name in ("cached", "whole"))
        assert cached.files == whole.files
        for name in cached.files:
            if cached[name].dtype.kind == "f":
                np.testing.assert_allclose(cached[name], whole[name], atol=1e-5)
            else:
                assert np.array_equal(cached[name], whole[name])


def test_an_exported_model_is_whole(folder: Path, tmp_path: Path):
    run = train(folder, tmp_path / "runs") / "0"
    (tmp_path / "whole").mkdir()
    save_clip(load_clip(str(run)), tmp_path / "whole")
    trained, whole = load_file(run / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors")
    assert trained.keys() < whole.keys() and all(torch.equal(whole[name], value) for name, value in trained.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["image_trunk"]}, "frozen trunks"),
        ({"init": "random"}, "the same pretrained model"),
        ({"crop_scale_min": 0.5}, "crop_scale_min"),
        ({"last_blocks": {"image": 1}}, "last_blocks"),
        ({"knowledge": {}}, "knowledge"),
        ({"efficientcl": {}}, "efficientcl"),
    ],
)
def test_what_cannot_be_cached_is_refused(folder: Path, tmp_path: Path, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        train(folder, tmp_path, **options)


def test_fine_tuning_starts_from_trained_projections(folder: Path, tmp_path: Path):
    start = train(folder, tmp_path / "start") / "0"
    changes = {"init": str(start), "fresh_projections": False, "last_blocks": {"text": 1}}
    slow = changes | {"trunk_lr": {"text": 0.01}}
    one, other = (
        load_file(train(folder, tmp_path / name, cached=None, lr=1e-4, **options) / "0" / "model.safetensors")
        for name, options in (("fast", changes), ("slow", slow))
    )
    trained, trunks = load_file(start / "model.safetensors"), load_file(folder / "model" / "model.safetensors")
    begun = trunks | trained
    moved = {name for name in one if not torch.equal(one[name], begun[name])}
    assert {"visual.proj", "text_projection", "ln_final.weight"} < moved
    assert all(
        name.startswith(("transformer.resblocks.0", "ln_final", "logit_scale")) or "proj" in name for name in moved
    )
    assert torch.allclose(one["visual.proj"], trained["visual.proj"], atol=5e-3)
    fast_step, slow_step = ((run["ln_final.weight"] - begun["ln_final.weight"]).abs().max() for run in (one, other))
    assert 0 < slow_step < fast_step / 50


def test_last_blocks_need_a_frozen_trunk():
    with pytest.raises(InputError, match=r"write freeze: \[image_trunk\]"):
        TrainOptions.parse({"last_blocks": {"image": 1}}, "test")


def test_features_of_another_model_are_refused(folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    save_clip(create_clip(str(folder / "tiny.json")), tmp_path / "other")
    with pytest.raises(InputError, match="another model"):
        train(folder, tmp_path, init=str(tmp_path / "other"))


def test_several_seeds_leave_no_saved_state(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved = []
    monkeypatch.setattr(SavedState, "save", lambda self, state: saved.append(state["engine"]["position"]))
    train(folder, tmp_path, (0, 1))
    assert saved == [] and [path.name for path in (tmp_path / "state").iterdir()] == ["finished"]


def steps_of_seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of every step of a training from now on."""
    step, seeds = Engine.step, []
    monkeypatch.setattr(Engine, "step", lambda self: (seeds.append(self.seed), step(self))[1])
    return seeds


def test_a_further_seed_trains_that_seed_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = train(folder, tmp_path, (0, 1))
    before = {path: path.read_bytes() for path in runs.glob("[01]/*")}
    for path in before:  # as Snakemake does before a job
        path.unlink()
    seeds = steps_of_seeds(monkeypatch)
    train(folder, tmp_path, (0, 1, 2))
    assert set(seeds) == {2}
    assert {path: path.read_bytes() for path in runs.glob("[01]/*")} == before


def test_finished_seeds_of_other_options_are_trained_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(folder, tmp_path, (0, 1))
    seeds = steps_of_seeds(monkeypatch)
    train(folder, tmp_path, (0, 1), lr=1e-3)
    assert set(seeds) == {0, 1}


def test_a_changed_finished_model_is_trained_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = train(folder, tmp_path, (0, 1)) / "1" / "model.safetensors"
    whole = path.read_bytes()
    with open(path, "r+b") as file:  # in place, so that the link sees it too
        file.write(b"x")
    seeds = steps_of_seeds(monkeypatch)
    train(folder, tmp_path, (0, 1))
    assert set(seeds) == {1} and path.read_bytes() == whole


def test_texts_that_the_features_lack_are_computed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    computed, texts = [], TrunkEncoder.texts
    monkeypatch.setattr(
        TrunkEncoder, "texts", lambda self, some, first=0: (computed.append(some), texts(self, some))[1]
    )
    first = train(folder, tmp_path, **METHODS["ahnm"]) / "0" / "model.safetensors"
    weights = first.read_bytes()
    assert len(computed) == 1 and all("no colour" in text for text in computed[0])
    assert (train(folder, tmp_path, (0, 1), **METHODS["ahnm"]) / "0" / "model.safetensors").read_bytes() == weights
    assert len(computed) == 1
