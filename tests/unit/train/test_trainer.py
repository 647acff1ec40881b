"""Training: losses and optimiser as published, outputs whole, the same weights from the same seed."""

import io
import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from evenclip.data.shard_writer import write_shards
from evenclip.errors import InputError
from evenclip.model.clip import create_clip
from evenclip.provenance import Manifest
from evenclip.train import TrainOptions, train_model
from evenclip.train.data import Pairs, crop, draw_crops, load_pairs
from evenclip.train.engine import Engine
from evenclip.train.optimizer_step import MAX_LOGIT_SCALE, clamp_logit_scale, make_optimizer, make_schedule
from evenclip.train.plugin import Clock, MethodContext
from support.tiny_training import square_jpeg, write_model, write_squares, write_weights

N = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, weights (the first ten pairs left out, the next ten shown twice) and model."""
    root = tmp_path_factory.mktemp("train")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 0 if i < 10 else 2 if i < 20 else 1 for i in range(N)})
    write_model(root / "tiny.json")
    return root


def train(folder: Path, out: Path, seed: int = 0, **options) -> Path:
    defaults = {"model": str(folder / "tiny.json"), "samples_seen": 640, "batch_size": 32, "lr": 3e-3, "log_every": 5}
    defaults |= {"precision": "fp32", "device": "cpu"}
    parsed = TrainOptions.parse(defaults | options, "test")
    train_model(folder / "data", folder / "weights.parquet", out, seed, out.parent / "state", parsed)
    return out


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def test_training_learns_and_writes_all_that_it_promises(folder: Path, tmp_path: Path):
    out = train(folder, tmp_path / "run")
    names = {path.name for path in out.iterdir()} - {".evenclip"}
    assert names == {"model.safetensors", "model.json", "open_clip_config.json", "history.parquet", "manifest.json"}
    history = pq.read_table(out / "history.parquet").to_pandas()
    assert history["step"].tolist() == [5, 10, 15, 20]
    assert history["samples_seen"].tolist() == [160, 320, 480, 640]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.5
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["strategy"], manifest["device"], manifest["dtype"]) == (folder.name, "cpu", "float32")
    assert (manifest["n_pairs"], manifest["samples_seen"]) == (N - 10, 640)
    assert not any((tmp_path / "state").glob("*"))


@pytest.mark.parametrize("options", [{}, {"objective": "siglip"}, {"precision": "bf16"}, {"crop_scale_min": 0.7}])
def test_equal_seeds_alone_give_equal_weights_bit_by_bit(folder: Path, tmp_path: Path, options: dict):
    first, again = (train(folder, tmp_path / name, samples_seen=128, **options) for name in ("a", "b"))
    assert weights(first) == weights(again)
    assert weights(train(folder, tmp_path / "c", samples_seen=128, seed=1, **options)) != weights(first)


@pytest.fixture
def engine(folder: Path) -> Engine:
    return make_engine(folder)


def make_engine(folder: Path, model: str = "tiny.json", **options) -> Engine:
    parsed = TrainOptions(batch_size=16, samples_seen=64, precision="fp32", **options)
    torch.manual_seed(0)
    clip = create_clip(str(folder / model), objective=parsed.objective)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    return Engine(MethodContext(parsed, clip, pairs, 0, Clock(n_steps=4), torch.device("cpu")))


def test_the_loss_is_the_mean_cross_entropy_of_both_directions(folder: Path):
    engine = make_engine(folder)
    image, text, scale = features(engine)
    log_softmax = torch.log_softmax(scale * image @ text.T, dim=1), torch.log_softmax(scale * text @ image.T, dim=1)
    expected = -sum(direction.diagonal().mean() for direction in log_softmax) / 2
    torch.testing.assert_close(engine.step().loss, expected)


def test_the_siglip_loss_is_that_of_the_paper(folder: Path):
    """Zhai et al. 2023, equation 1, with the bias -10 and the scale 10 that it starts from."""
    engine = make_engine(folder, objective="siglip")
    image, text, scale = features(engine)
    assert scale.item() == pytest.approx(10)
    sign = 2 * torch.eye(len(image)) - 1
    expected = torch.log1p(torch.exp(-sign * (scale * image @ text.T - 10))).sum() / len(image)
    torch.testing.assert_close(engine.step().loss, expected)
    assert engine.clip.logit_bias.item() != -10


def features(engine: Engine) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = engine.parts.batches.at(engine.position)
    inputs = engine._inputs(batch, engine.pairs.pixels.at(batch.rows))
    images, tokens = inputs.images(), inputs.tokens
    full = torch.zeros(len(tokens), engine.module.context_length, dtype=torch.long)
    full[:, : tokens.shape[1]] = tokens
    with torch.no_grad():
        image, text, scale = engine.module(images, full)[:3]
    return image, text, scale


def test_only_matrices_decay(engine: Engine):
    decayed, plain = make_optimizer(engine.module, engine.options).param_groups
    names = {id(p): name for name, p in engine.module.named_parameters()}
    assert plain["weight_decay"] == 0 and decayed["weight_decay"] == engine.options.weight_decay
    undecayed = {names[id(p)] for p in plain["params"]}
    assert {"logit_scale", "ln_final.weight", "visual.class_embedding"} <= undecayed
    assert all("weight" not in name or "ln_" in name for name in undecayed)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rate = make_schedule(TrainOptions(warmup_share=0.1), 100)
    rates = [rate(step, 2.0) for step in range(100)]
    assert rates[9] == rates[10] == 2.0 and rates[0] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(1.0, abs=0.02) and rates[99] < 0.01
    assert math.isfinite(make_schedule(TrainOptions(warmup_share=0), 1)(0, 1.0))


def test_the_logit_scale_stays_at_most_100(engine: Engine):
    with torch.no_grad():
        engine.module.logit_scale.fill_(9)
    clamp_logit_scale(engine.module)
    assert engine.module.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)


def test_each_caption_of_a_pair_is_shown(folder: Path):
    engine = make_engine(folder)
    pairs_shown = {(int(row), int(caption)) for step in range(140) for row, caption in captions_at(engine, step)}
    pairs = engine.pairs
    expected = {
        (i, int(c)) for i in range(len(pairs.keys)) for c in pairs.captions[pairs.starts[i] : pairs.starts[i + 1]]
    }
    assert pairs_shown == expected
    assert captions_at(engine, 7) == captions_at(make_engine(folder), 7)


def captions_at(engine: Engine, step: int) -> list[tuple[int, int]]:
    batch = engine.parts.batches.at(step)
    return list(zip(batch.rows.tolist(), engine.pairs.captions_of(batch).tolist(), strict=True))


def test_a_loss_of_nan_stops_and_names_step_and_keys(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"loss is nan at step \d+; its batch: 00") as error:
        train(folder, tmp_path / "run", lr=1e30, warmup_share=0)
    assert "lower lr" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_state_restores_the_engine(folder: Path):
    straight = make_engine(folder)
    losses = [straight.step().loss.item() for _ in range(4)]
    first, second = make_engine(folder), make_engine(folder)
    assert [first.step().loss.item() for _ in range(2)] == losses[:2]
    second.restore(first.state())
    assert [second.step().loss.item() for _ in range(2)] == losses[2:]


def test_a_convolutional_tower_resumes_bit_by_bit(folder: Path):
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
    write_model(folder / "conv.json", vision_cfg=vision)
    straight, first, second = (make_engine(folder, "conv.json") for _ in range(3))
    assert straight.module.visual.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    losses = [straight.step().loss.item() for _ in range(4)]
    for _ in range(2):
        first.step()
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second.restore(torch.load(file))
    assert [second.step().loss.item() for _ in range(2)] == losses[2:]


def test_full_crops_change_nothing_and_others_stay_inside():
    images = torch.rand(4, 3, 16, 16)
    rng = np.random.default_rng(0)
    whole = np.tile(np.eye(2, 3, dtype=np.float32), (4, 1, 1))
    torch.testing.assert_close(crop(images, whole), images, atol=1e-5, rtol=1e-5)
    crops = draw_crops(4, 0.3, rng)
    cropped = crop(images, crops)
    assert cropped.shape == images.shape and not torch.allclose(cropped, images)
    torch.testing.assert_close(crop(images[1:3], crops[1:3]), cropped[1:3])
    constant = crop(torch.full((4, 3, 16, 16), 0.5), crops)
    torch.testing.assert_close(constant, torch.full_like(constant, 0.5))  # nothing from outside the image


def test_crops_are_those_of_torchs_affine_grid():
    images = torch.rand(4, 3, 16, 24, dtype=torch.float64, requires_grad=True)
    crops = draw_crops(4, 0.3, np.random.default_rng(0)).astype(np.float64)
    grid = F.affine_grid(torch.from_numpy(crops), list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    cropped = crop(images, crops)
    torch.testing.assert_close(cropped, expected, atol=1e-12, rtol=1e-12)
    upstream = torch.rand_like(expected)
    ours, theirs = (torch.autograd.grad(out, images, upstream)[0] for out in (cropped, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_pairs_without_caption_are_left_out_and_counted(tmp_path: Path, folder: Path):
    rng = np.random.default_rng(0)
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for key, captions in (("a", ["a red square"]), ("b", [])):
            writer.add(key, square_jpeg("red", rng), captions, {}, width=32, height=32, sha256="")
    path = write_weights(tmp_path / "weights.parquet", {"a": 1, "b": 1})
    pairs: Pairs = load_pairs(tmp_path / "data", path, create_clip(str(folder / "tiny.json")), threads=1)
    assert pairs.keys.tolist() == ["a"] and pairs.n_without_caption == 1


def write_twins(root: Path, values: list[str]) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    with write_shards(root / "data", Manifest("data", {}, {}, seed=0)) as writer:
        for key, value in enumerate(values):
            columns = {"twin": value}
            writer.add(str(key), square_jpeg("red", rng), ["red"], columns, width=32, height=32, sha256="")
    copies = {str(key): int(key != 1) for key in range(len(values))}
    return root / "data", write_weights(root / "weights.parquet", copies)


def test_twins_are_the_two_shown_pairs_that_share_a_value(folder: Path, tmp_path: Path):
    clip = create_clip(str(folder / "tiny.json"))
    pairs = load_pairs(*write_twins(tmp_path, ["a", "b", "", "b", "c", "c", ""]), clip, threads=1, twins="twin")
    assert pairs.keys.tolist() == ["0", "2", "3", "4", "5", "6"]
    assert pairs.twins.tolist() == [-1, -1, -1, 4, 3, -1]  # the twin of 3 is not shown


@pytest.mark.parametrize(
    ("values", "column", "message"), [(["a"] * 4, "twin", "3 pairs share"), (["a", "a", "b"], "sibling", "sibling")]
)
def test_wrong_twins_are_named(folder: Path, tmp_path: Path, values: list[str], column: str, message: str):
    paths = write_twins(tmp_path, values)
    with pytest.raises(InputError, match=message):
        load_pairs(*paths, create_clip(str(folder / "tiny.json")), threads=1, twins=column)


@pytest.mark.parametrize(
    ("copies", "options", "message"),
    [
        ({"00000": 1, "stray": 1}, {}, "1 of its 121 keys are not in .*'stray'"),
        ({"00000": 0}, {}, "no pair with a caption is shown"),
        ({"00000": 3}, {}, "a batch of 32 is more than the 3 pairs"),
        ({"00000": 32}, {"model": "ViT-B-33"}, "did you mean"),
        ({"00000": 32}, {"init": "no_such_tag", "model": "ViT-B-32"}, "no_such_tag"),
    ],
)
def test_bad_input_is_named(folder: Path, tmp_path: Path, copies: dict, options: dict, message: str):
    path = write_weights(tmp_path / "weights.parquet", {f"{i:05d}": 0 for i in range(N)} | copies)
    parsed = TrainOptions.parse({"model": str(folder / "tiny.json"), "batch_size": 32} | options, "test")
    with pytest.raises(InputError, match=message):
        train_model(folder / "data", path, tmp_path / "run", 0, tmp_path / "state", parsed)


@pytest.mark.parametrize(("data", "weights"), [("none", "weights.parquet"), ("data", "none.parquet")])
def test_a_path_that_is_not_there_is_named(folder: Path, tmp_path: Path, data: str, weights: str):
    options = TrainOptions(model=str(folder / "tiny.json"))
    with pytest.raises(InputError, match="none"):
        train_model(folder / data, folder / weights, tmp_path / "run", 0, tmp_path / "state", options)


def test_a_trained_model_starts_another_training(folder: Path, tmp_path: Path):
    first = train(folder, tmp_path / "a", samples_seen=64)
    again = train(folder, tmp_path / "b", samples_seen=64, init=str(first / "model.safetensors"), lr=1e-12)
    models = [open_clip.create_model_from_pretrained(f"local-dir:{out}")[0] for out in (first, again)]
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_each_seed_may_start_from_a_checkpoint_of_its_own(folder: Path, tmp_path: Path):
    starts = [train(folder, tmp_path / f"start{seed}", seed, samples_seen=64) for seed in (0, 1)]
    init = str(tmp_path / "start{seed}" / "model.safetensors")
    ends = [train(folder, tmp_path / f"end{seed}", seed, samples_seen=64, init=init, lr=1e-12) for seed in (0, 1)]
    for start, end in zip(starts, ends, strict=True):
        models = [open_clip.create_model_from_pretrained(f"local-dir:{out}")[0] for out in (start, end)]
        torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())
    manifests = [json.loads((end / "manifest.json").read_text()) for end in ends]
    assert manifests[0]["options"] == manifests[1]["options"]  # seeds of one run
    assert manifests[0]["inputs"]["init"] != manifests[1]["inputs"]["init"]
