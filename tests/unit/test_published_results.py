"""The committed results of studies can be analysed anew, and say which code made them."""

import csv
import json
import math
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from support.project import ROOT

RESULTS = ROOT / "docs/results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/about.json"))


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def missing_values(study: Path) -> list[str]:
    """Means of summary.csv that the values in seeds.csv do not give."""
    values = defaultdict(list)
    for row in read_rows(study / "seeds.csv"):
        values[row["run"], row["metric"], row["group"]].append(row["value"])
    wrong = []
    for row in read_rows(study / "summary.csv"):
        own = values[row["run"], row["metric"], row["group"]]
        same = row["mean"] and all(own) and len(own) == int(row["n_seeds"])
        if row["mean"] and not row["metric"].startswith("data/") and not (
            same and math.isclose(statistics.mean(map(float, own)), float(row["mean"]), rel_tol=1e-6, abs_tol=1e-6)
        ):  # fmt: skip
            wrong.append(f"{row['run']} {row['metric']} {row['group']}")
    return wrong


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_published_means_follow_from_the_values_of_seeds(study: Path):
    if (study / "seeds.csv").exists():
        assert missing_values(study) == []
    else:
        page = (RESULTS / "README.md").read_text(encoding="utf-8")
        table = page.partition(f"<!-- results:{study.name} -->")[2].partition("<!-- /results")[0]
        commit = json.loads((study / "about.json").read_text())["commit"]
        assert f"Made by commit {commit}" in table and "single seeds were not kept" in table


def test_a_mean_without_its_seeds_is_noticed(tmp_path: Path):
    rows = "run,metric,group,mean,n_seeds\na,zeroshot/s/acc1,,0.5,2\n"
    (tmp_path / "summary.csv").write_text(rows)
    (tmp_path / "seeds.csv").write_text("run,metric,group,value\na,zeroshot/s/acc1,,0.4\na,zeroshot/s/acc1,,0.6\n")
    assert missing_values(tmp_path) == []
    (tmp_path / "seeds.csv").write_text("run,metric,group,value\na,zeroshot/s/acc1,,0.6\n")
    assert missing_values(tmp_path) == ["a zeroshot/s/acc1 "]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/pins.sha256")), ids=lambda path: path.parent.name)
def test_pins_name_data_labels_weights_and_models(path: Path):
    """The format of `sha256sum --check`; every strategy's weights and every run's models are pinned."""
    lines = [line.split("  ") for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest, _ in lines)
    pinned = {name for _, name in lines}
    results = f"results/{path.parent.name}"
    runs = {row["run"] for row in read_rows(path.parent / "summary.csv")}
    seeds = json.loads((path.parent / "about.json").read_text(encoding="utf-8"))["seeds"]
    for run in runs:
        models = [name for name in pinned if re.fullmatch(rf"{results}/train/{run}/seed\d+/model.safetensors", name)]
        assert len(models) >= seeds, run
    for kind in ("data/.*[.]tar", f"{results}/label/.*[.]parquet", rf"{results}/balance/\w+/weights.parquet"):
        assert any(re.fullmatch(kind, name) for name in pinned), kind
