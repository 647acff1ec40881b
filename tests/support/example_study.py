"""A small study on disk, with every file that the report and the tracker read.

Labels, weights and the summary are made by their own stages; images, curves and metrics are made up.
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from PIL import Image, ImageDraw

from evenclip.balance import BalanceOptions, balance
from evenclip.card import write_study_cards
from evenclip.data.shard_writer import write_shards
from evenclip.digests import describe_files, sha256_file, with_digest
from evenclip.label import LabelOptions, label_dataset
from evenclip.provenance import Manifest, write_json
from evenclip.stage_outputs import study_fingerprint
from evenclip.summarize import summarize_study
from evenclip.tables import MetricRow, write_table
from support.project import ROOT

STRATEGIES = ("none", "random_subsample", "m4")
SEEDS = (0, 1)
SETS = ("people", "objects", "mixed")
EFFECT = {"none": 0.42, "random_subsample": 0.40, "m4": 0.08}
JITTER = {"none": 0.001, "random_subsample": -0.002, "m4": 0.001}  # so that seeds do not move all runs alike
N_PAIRS = 400
CLAIMS = ROOT / "config/claims.yaml"
LEXICON = {
    "sensitive": {"group": {"zubbin": ["zubbin"], "tamlet": ["tamlet"]}},
    "target": {"lorker": ["lorker"], "dasker": ["dasker"]},
    "proxy": {"kitchen": ["kitchen"]},
}


def write_example_study(root: Path) -> Path:
    """Write `data/world/<split>` and `results/demo` under ``root``; return the results folder."""
    results = root / "results" / "demo"
    write_pairs(root / "data" / "world" / "train", N_PAIRS)
    for name in SETS:
        write_pairs(root / "data" / "world" / name, 3)
    (root / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON))
    labels = results / "label" / "world.parquet"
    label_dataset(root / "data" / "world" / "train", root / "lexicon.yaml", labels, LabelOptions())
    for strategy in STRATEGIES:
        balance(labels, results / "balance" / strategy, BalanceOptions(strategy=strategy))
        for seed in SEEDS:
            _write_training(root, results, strategy, seed)
            for name, rows in example_metrics(strategy, seed).items():
                _write_evaluation(root, results / "evaluate" / strategy / f"seed{seed}" / f"{name}.json", rows, seed)
    summarize_study(results, list(STRATEGIES), list(SEEDS), claims=CLAIMS)
    write_study_cards(results, results / "card")
    return results


def seal(results: Path) -> None:
    """Bring study.json up to date with files that a test has changed, as if summarize had seen them so."""
    path = results / "study.json"
    study = json.loads(path.read_text())
    for name in sorted(study["files"], key=lambda name: name.endswith("manifest.json")):
        sign(results / name)
    study["files"] = {name: sha256_file(results / name) for name in study["files"] if (results / name).is_file()}
    with open(results / "summary.csv", encoding="utf-8", newline="") as file:
        rows = Counter(row["run"] for row in csv.DictReader(file))
    study["runs"] = [run | {"rows": rows[run["run"]]} for run in study["runs"]]
    write_json(study | {"fingerprint": study_fingerprint(study)}, path)


def sign(path: Path) -> None:
    """Bring a document's digest, and a manifest's record of its outputs, up to date."""
    document = json.loads(path.read_text()) if path.suffix == ".json" and path.is_file() else None
    if isinstance(document, dict) and "digest" in document:
        outputs = [path.parent / name for name in document.get("outputs", {})]
        described = {"outputs": describe_files(outputs, path.parent)} if outputs else {}
        write_json(with_digest(document | described), path)


def write_pairs(folder: Path, n: int) -> None:
    """Circles with captions: group zubbin has 7 in 10, and is mostly a lorker."""
    rng = np.random.default_rng(0)
    with write_shards(folder, Manifest("data", {"folder": folder.name}, {}, seed=0)) as writer:
        for i in range(n):
            group = "zubbin" if rng.random() < 0.7 else "tamlet"
            occupation = "lorker" if (rng.random() < 0.75) == (group == "zubbin") else "dasker"
            image = Image.new("RGB", (64, 64), "#eee")
            ImageDraw.Draw(image).ellipse((12, 12, 24 + i % 32, 24 + i % 32), fill="#c33" if i % 2 else "#36c")
            file = io.BytesIO()
            image.save(file, "JPEG")
            captions = [f"a circle beside a {group} <{occupation}>" + (" in a kitchen" if rng.random() < 0.3 else "")]
            writer.add(f"{i:09d}", file.getvalue(), captions, {}, width=64, height=64, sha256="0" * 64)


def _write_training(root: Path, results: Path, strategy: str, seed: int) -> None:
    folder = results / "train" / strategy / f"seed{seed}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, len(strategy)])
    step = np.arange(1, 301)
    loss = 4.8 * np.exp(-step / 120) + 1.6 + 0.1 * rng.standard_normal(len(step))
    curve = {"step": step, "samples_seen": step * 64, "loss": loss, "lr": 1e-3 * np.ones(len(step))}
    curve |= {"logit_scale": 14 + step / 60, "samples_per_second": np.full(len(step), 880.0)}
    write_table(pa.table(curve), folder / "history.parquet")
    weights = results / "balance" / strategy / "weights.parquet"
    inputs = {"data": root / "data" / "world" / "train", "weights": weights}
    options = {"model": "config/models/tiny.json", "init": "random", "objective": "clip", "simclip": None}
    options |= {"batch_size": 64, "lr": 5e-4 if strategy == "random_subsample" else 1e-3}
    made = {"device": "cpu", "dtype": "float32", "strategy": strategy, "n_pairs": N_PAIRS, "samples_seen": 300 * 64}
    Manifest("train", options, inputs, seed).write(folder / "manifest.json", **made)


def example_metrics(strategy: str, seed: int) -> dict[str, list[MetricRow]]:
    """Metrics of one run and seed by evaluation set."""
    shift = 0.02 * seed + JITTER[strategy] * (2 * seed - 1)
    bias, quality = EFFECT[strategy] + shift, (0.35 if strategy != "m4" else 0.33) + shift

    def row(metric: str, value: float | None, n: int, group: str = "", random: float | None = None) -> MetricRow:
        ends = (None, None) if value is None else (value - 0.03, value + 0.03)
        return MetricRow(metric, value, *ends, n, group, random, people=metric.startswith(("bias", "recognition")))

    return {
        "people": [
            row("bias/people/rb", bias * 0.7, 1000),
            row("bias/people/ab_max", bias, 800),
            row("bias/people/ab", bias, 800, group="lorker"),
            row("recognition/people/acc1", None, 3, group="tamlet & co (insufficient)", random=0.5),
        ],
        "objects": [
            row("zeroshot/objects/acc1", quality, 1000, random=1 / 36),
            row("zeroshot/objects/acc5", quality + 0.3, 1000, random=5 / 36),
        ],
        "mixed": [
            row("retrieval/mixed/image_to_text_recall_at_5", quality - 0.1, 1000, random=0.005),
            row("compositional/mixed/color", quality + 0.4, 200, random=0.5),
            row("compositional/mixed/negation", quality + 0.2, 200, random=0.5),
        ],
    }


def _write_evaluation(root: Path, path: Path, rows: list[MetricRow], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tasks = [{"kind": "zeroshot", "column": "object", "prompts": "world_objects"}]
    options = {"name": path.stem, "tasks": tasks, "resamples": 1000}
    inputs = {"dataset": root / "data" / "world" / path.stem}
    model = f"results/demo/train/{path.parts[-3]}"
    metrics = [row.as_dict() for row in rows]
    Manifest("evaluate", options, inputs, seed).write_metrics(metrics, path, n=3, model=model)
