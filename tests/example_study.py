"""A small made-up study on disk, with every file that the report and the tracker read."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image, ImageDraw

from evenclip.data.shards import write_shards
from evenclip.provenance import Manifest, write_json
from evenclip.records import MetricRow, write_table

STRATEGIES = ("none", "random_subsample", "m4")
SEEDS = (0, 1)
EFFECT = {"none": 0.42, "random_subsample": 0.40, "m4": 0.08}
COLORS = {"red": "#c33", "green": "#2a2", "blue": "#36c", "yellow": "#cb2"}


def write_example_study(root: Path) -> Path:
    """Write `data/world/train` and `results/demo` under ``root``; return the results folder."""
    data, results = root / "data" / "world" / "train", root / "results" / "demo"
    _write_data(data)
    _write_labels(data, results)
    for strategy in STRATEGIES:
        _write_balance(results, strategy)
        for seed in SEEDS:
            _write_training(data, results, strategy, seed)
            _write_evaluations(results, strategy, seed)
    _write_summary(results)
    return results


def _write_data(folder: Path) -> None:
    with write_shards(folder, Manifest("data", {"split": "train"}, {}, seed=0)) as writer:
        for i in range(16):
            color = list(COLORS)[i % 4]
            image = Image.new("RGB", (64, 64), "#eee")
            ImageDraw.Draw(image).ellipse((12, 12, 20 + 2 * i, 20 + 2 * i), fill=COLORS[color])
            file = io.BytesIO()
            image.save(file, "JPEG")
            group = "ravi" if i % 3 else "tolo"
            captions = [f"a {color} circle beside a {group} <baker>"]
            writer.add(f"{i:09d}", file.getvalue(), captions, {"group": group}, width=64, height=64, sha256="0" * 64)


def _write_labels(data: Path, results: Path) -> None:
    n = 16
    labels = {
        "key": [f"{i:09d}" for i in range(n)],
        "sensitive.group.ravi": [bool(i % 3) for i in range(n)],
        "sensitive.group.tolo": [not i % 3 for i in range(n)],
        "target.baker": [i % 2 == 0 for i in range(n)],
        "proxy.kitchen": [i % 4 == 0 for i in range(n)],
    }
    write_table(pa.table(labels), results / "label" / "world.parquet")
    columns = [name for name in labels if name != "key"]
    Manifest("label", {}, {"data": data}).write(
        results / "label" / "world.json",
        n=n,
        counts={name: sum(labels[name]) for name in columns},
        examples={name: ["a red circle beside a ravi <baker>", "a baker in a kitchen"] for name in columns},
    )


def _write_balance(results: Path, strategy: str) -> None:
    folder = results / "balance" / strategy
    folder.mkdir(parents=True)
    after = {"rb": 0.2, "ab": 0.31} if strategy != "m4" else {"rb": 0.004, "ab": 0.003}
    report = {
        "strategy": strategy, "objective": 0.01, "dual_bound": 0.01, "relative_gap": 1e-9, "converged": True,
        "feasible": True, "retention": 1.0 if strategy == "none" else 0.81, "max_representation_residual": 0.004,
        "max_association_residual": 0.003, "blocking_pair": None, "rb_before": 0.2, "rb_after": after["rb"],
        "realised_rb": after["rb"], "ab_before": 0.31, "ab_after": after["ab"], "realised_ab": after["ab"],
        "ess": 5432.1, "design_effect": 1.1, "n": 6000, "n_cells": 96, "seconds": 0.2, "peak_memory_mb": 20.0,
    }  # fmt: skip
    write_json(report, folder / "report.json")
    Manifest("balance", {"strategy": strategy}, {}).write(folder / "manifest.json", n=6000)


def _write_training(data: Path, results: Path, strategy: str, seed: int) -> None:
    folder = results / "train" / strategy / f"seed{seed}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, len(strategy)])
    step = np.arange(1, 301)
    loss = 4.8 * np.exp(-step / 120) + 1.6 + 0.1 * rng.standard_normal(len(step))
    curve = {"step": step, "samples_seen": step * 64, "loss": loss, "lr": 1e-3 * np.ones(len(step))}
    curve |= {"logit_scale": 14 + step / 60, "samples_per_second": np.full(len(step), 880.0)}
    write_table(pa.table(curve), folder / "history.parquet")
    manifest = Manifest("train", {"epochs": 3}, {"data": data, "weights": results / "label" / "world.parquet"}, seed)
    manifest.write(folder / "manifest.json", device="cpu", strategy=strategy)


def example_metrics(strategy: str, seed: int) -> dict[str, list[MetricRow]]:
    """Metrics of one run and seed by evaluation set."""
    shift = 0.02 * seed
    bias, quality = EFFECT[strategy] + shift, (0.35 if strategy != "m4" else 0.33) + shift

    def row(metric: str, value: float | None, n: int, group: str = "", random: float | None = None) -> MetricRow:
        ends = (None, None) if value is None else (value - 0.03, value + 0.03)
        return MetricRow(metric, value, *ends, n, group, random)

    return {
        "people": [
            row("bias/people/rb", bias * 0.7, 1000),
            row("bias/people/ab_max", bias, 800),
            row("bias/people/ab_mean", bias / 3, 800),
            row("bias/people/accuracy", None, 3, group="tolo & ravi"),
        ],
        "objects": [
            row("zeroshot/objects/acc1", quality, 1000, random=1 / 36),
            row("zeroshot/objects/acc5", quality + 0.3, 1000, random=5 / 36),
        ],
        "mixed": [
            row("retrieval/mixed/image_to_text_recall_at_5", quality - 0.1, 1000, random=0.005),
            row("retrieval/mixed/text_to_image_recall_at_5", quality - 0.12, 1000, random=0.005),
        ],
    }


def _write_evaluations(results: Path, strategy: str, seed: int) -> None:
    for name, rows in example_metrics(strategy, seed).items():
        manifest = {
            "stage": "evaluate",
            "fingerprint": "0" * 16,
            "git": {"commit": None, "dirty": None},
            "seconds": 1.5,
        }
        manifest |= {
            "seed": seed,
            "inputs": {"data": {"path": f"data/world/{name}", "sha256": "ab" * 32}},
            "packages": {},
        }
        document = {"manifest": manifest, "metrics": [row.as_dict() for row in rows]}
        write_json(document, results / "evaluate" / strategy / f"seed{seed}" / f"{name}.json")


def _write_summary(results: Path) -> None:
    rows = []
    for strategy in STRATEGIES:
        measured = [row for seed in SEEDS for rows in example_metrics(strategy, seed).values() for row in rows]
        table = pd.DataFrame([row.as_dict() for row in measured]).astype({"value": float, "random": float})
        for (metric, group), part in table.groupby(["metric", "group"], sort=False):
            mean, n_seeds = part["value"].mean(), part["value"].notna().sum()
            rows.append([metric, group, mean, part["value"].std(), mean - 0.04, mean + 0.04, "t", n_seeds, part["n"].min(), part["random"].mean(), strategy])  # fmt: skip  # noqa: E501
        before = EFFECT[strategy]
        rows += [[name, "", before, np.nan, before - 0.01, before + 0.01, "bootstrap", 1, 6000, np.nan, strategy] for name in ("data/rb", "data/ab_max")]  # fmt: skip  # noqa: E501
    columns = ["metric", "group", "mean", "sd", "ci_low", "ci_high", "interval", "n_seeds", "n", "random", "strategy"]
    summary = pd.DataFrame(rows, columns=columns)
    summary.insert(0, "study", "demo")
    summary.insert(1, "run", summary["strategy"])
    summary.to_csv(results / "summary.csv", index=False)
    tests = [["bias/people/ab_max", "none", "m4", 0.0, 0.5, 1.0, 0.34, 2], ["zeroshot/objects/acc1", "none", "m4", 1.0, 0.5, 1.0, 0.02, 2]]  # fmt: skip  # noqa: E501
    header = ["metric", "run_a", "run_b", "statistic", "p", "p_holm", "effect", "n"]
    pd.DataFrame(tests, columns=header).to_csv(results / "tests.csv", index=False)
    runs = [{"run": name, "strategy": name, "seeds": list(SEEDS), "options": {}} for name in STRATEGIES]
    runs[-1]["options"] = {"train.lr": 0.001}
    (results / "study.json").write_text(
        json.dumps({"study": "demo", "runs": runs, "sets": ["people", "objects", "mixed"]})
    )
