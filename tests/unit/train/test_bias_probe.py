"""The probe measures what the evaluation would, at moments spread over a training, and does not touch the training."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.errors import InputError
from evenclip.evaluate import EvaluateOptions, Task, evaluate_set
from evenclip.model.clip import create_clip
from evenclip.train import TrainOptions, train_model
from evenclip.train.bias_probe import BiasProbe, model_ab
from evenclip.train.options import BiasProbeOptions
from support.tiny_training import COLORS, write_model, write_squares, write_weights

N = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("probe")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 for i in range(N)})
    write_model(root / "tiny.json")
    classes = {name: [name, f"{name} zebra"] for name in COLORS}  # words that no caption has
    (root / "colors.yaml").write_text(json.dumps({"templates": ["a {} square", "one {}"], "classes": classes}))
    return root


def probe(folder: Path, **changes) -> dict:
    data, prompts = str(folder / "data"), str(folder / "colors.yaml")
    plain = {"images": data, "people": data, "groups": prompts, "labels": prompts, "column": "color", "points": 4}
    return plain | changes


def train(folder: Path, out: Path, **options) -> Path:
    plain = {"model": str(folder / "tiny.json"), "samples_seen": 160, "batch_size": 16, "precision": "fp32"}
    parsed = TrainOptions.parse(plain | {"device": "cpu", "lr": 3e-3} | options, "test")
    train_model(folder / "data", folder / "weights.parquet", out, 0, out.parent / "state", parsed)
    return out


def test_the_probe_agrees_with_evaluation_and_changes_nothing(folder: Path, tmp_path: Path):
    probed, plain = train(folder, tmp_path / "a", bias_probe=probe(folder)), train(folder, tmp_path / "b")
    assert (probed / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    history = pq.read_table(probed / "bias_history.parquet").to_pydict()
    assert history["step"] == [0, 3, 7, 10]
    embed_sets(
        {str(probed): tmp_path / "e"}, [EmbedSet("it", folder / "data", (folder / "colors.yaml",))], EmbedOptions()
    )
    tasks = ["association:{column: color, prompts: colors}", "representation:{prompts: colors}"]
    options = EvaluateOptions(minimum_group=2, resamples=100)
    parsed = [Task.from_argument(task) for task in tasks]
    evaluate_set(folder / "data", [tmp_path / "e" / "it.npz"], "it", parsed, tmp_path / "m.json", 0, options)
    rows = json.loads((tmp_path / "m.json").read_text())["metrics"]
    measured = {row["metric"]: row["value"] for row in rows if not row["group"]}
    for name in ("rb", "ab_max", "ab_mean"):
        assert history[name][-1] == pytest.approx(measured[f"bias/it/{name}"], abs=1e-5)
    assert len({round(value, 6) for value in history["ab_max"]}) == 4


def test_two_groups_have_one_distance_and_more_one_each():
    seen, group = np.random.default_rng(0).dirichlet(np.ones(3), 60), np.arange(60) % 3
    two = model_ab(seen[group < 2], group[group < 2])
    np.testing.assert_allclose(two, np.abs([seen[group == 0].mean(0) - seen[group == 1].mean(0)]))
    distances = model_ab(seen, group)
    assert distances.shape == (3, 3)
    np.testing.assert_allclose(distances[1], np.abs(seen[group == 1].mean(0) - seen[group != 1].mean(0)))


def test_each_moment_is_measured_once_also_after_a_stop(folder: Path):
    clip = create_clip(str(folder / "tiny.json"))
    measured = BiasProbe(BiasProbeOptions(**probe(folder, points=3)), clip, n_steps=10)
    assert [step for step in range(11) if measured.wanted(step)] == [0, 5, 10]
    measured.rows = [{"step": 0}, {"step": 5}]
    assert [step for step in range(11) if measured.wanted(step)] == [10]


def test_few_images_are_spread_over_the_set(folder: Path):
    clip = create_clip(str(folder / "tiny.json"))
    measured = BiasProbe(BiasProbeOptions(**probe(folder, n_images=8)), clip, n_steps=10)
    assert len(measured._people) == 8 and len(set(measured._group)) > 1
    whole = BiasProbe(BiasProbeOptions(**probe(folder)), clip, n_steps=10)
    assert torch.equal(measured._people[-1], whole._people[-1])


def test_a_column_with_one_value_is_an_error(folder: Path, tmp_path: Path):
    clip = create_clip(str(folder / "tiny.json"))
    options = BiasProbeOptions(**probe(folder, people=str(write_squares(tmp_path / "one", 1))))
    with pytest.raises(InputError, match="its images show 1 values of 'color'"):
        BiasProbe(options, clip, n_steps=10)
