"""Tables of the benchmarks' results for the documents, made from benchmarks/results/*.csv by `docs/generate.py`."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def comparison(name: str) -> str:
    """A benchmark against its peers: a line for each case, with its target and whether it is met."""
    lines = []
    for row in _read(name):
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        peer = f"{_number(row['peer'])}{unit} ({row['peer_name']})" if row["peer"] else "-"
        ratio = f"{float(row['ratio']):.4g}" if row["ratio"] else "-"
        met = {"True": "yes", "False": "no"}.get(row["met"], "-")
        lines.append([row["case"].partition(": ")[2], _number(row["ours"]) + unit, peer, ratio, _target(row), met])
    return _table(("case", "ours", "peer", "ratio", "target", "met"), lines)


def strategies(data: str = "") -> str:
    """Balancing strategies on each data set, or on one."""
    columns = {
        "data": "data", "strategy": "strategy", "rb": "RB", "ab": "AB", "kept_min": "worst label keeps",
        "kept_mean": "labels keep on average", "ess": "ESS / rows", "copies": "most copies", "seconds": "s",
    }  # fmt: skip
    rows = [row for row in _read("balance_strategies") if (row["data"] == data if data else row["strategy"] != "none")]
    shown = [name for name in columns if not (data and name in ("data", "seconds"))]
    return _table([columns[name] for name in shown], ([row[name] for name in shown] for row in rows))


def real_captions() -> str:
    """Balancing on captions of real data sets."""
    columns = {
        "data": "data", "lexicon": "lexicon", "n_labels": "labels", "n": "images", "rb_before": "RB before",
        "rb_after": "RB after", "ab_before": "AB before", "ab_after": "AB after", "realised_rb": "RB as shown",
        "realised_ab": "AB as shown", "largest_retention": "largest retention",
    }  # fmt: skip
    texts, counts = ("data", "lexicon"), ("n_labels", "n")
    lines = [
        [row[name] if name in (*texts, *counts) else f"{float(row[name]):.4f}" for name in columns]
        for row in _read("balance_real")
    ]
    return _table([*columns.values()], lines)


def knowledge_cost() -> str:
    """Time of a training step with each of Knowledge-CLIP's losses, for each model."""
    rows = _read("knowledge")
    models = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["case"], row["model"]): f"{row['ms_per_step']} ms ({row['ratio_to_clip']} x)" for row in rows}
    cases = dict.fromkeys(row["case"] for row in rows)
    return _table(("step", *models), ([case, *(cells.get((case, model), "-") for model in models)] for case in cases))


def link_prediction() -> str:
    """Link prediction from texts alone, with intervals."""
    rows = _read("link_prediction")
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    cells = {
        (row["set"], row["scorer"], row["metric"]): f"{float(row['value']):.4f} "
        f"[{float(row['ci_low']):.4f}, {float(row['ci_high']):.4f}]"
        for row in rows
    }
    sizes = {row["set"]: int(row["n"]) for row in rows}
    lines = [
        [f"{name} ({sizes[name]:,} triples)", scorer, *(cells[name, scorer, metric] for metric in metrics)]
        for name, scorer in dict.fromkeys((row["set"], row["scorer"]) for row in rows)
    ]
    return _table(("set", "scorer", *metrics), lines)


def _target(row: Mapping[str, str]) -> str:
    """What was wanted; whether more or less is better follows from whether it was met."""
    if not row["target"]:
        return "-"
    measured = float(row["ratio"] or row["ours"])
    more_is_better = (measured >= float(row["target"])) == (row["met"] == "True")
    return f"at {'least' if more_is_better else 'most'} {float(row['target']):g}"


def _number(text: str) -> str:
    return f"{float(text):,.4g}" if abs(float(text)) < 1000 else f"{float(text):,.0f}"


def _read(name: str) -> list[dict[str, str]]:
    with open(RESULTS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


SECTIONS = {
    "benchmark": comparison, "strategies": strategies, "real_captions": real_captions,
    "knowledge_cost": knowledge_cost, "link_prediction": link_prediction,
}  # fmt: skip
"""Names of sections in documents, and what fills them."""
