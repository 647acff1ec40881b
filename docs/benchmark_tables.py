"""Tables of the benchmarks' results for the documents, made from benchmarks/results/*.csv by `docs/generate.py`."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def comparison(name: str) -> str:
    """A benchmark against its peers: a line for each case, with its target and whether it is met."""
    lines = []
    for row in _read(name):
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        peer = f"{_spread(row, 'peer')}{unit} ({row['peer_name']})" if row["peer"] else "-"
        ratio = _spread(row, "ratio") if row["ratio"] else "-"
        met = {"True": "yes", "False": "no"}.get(row["met"], "-")
        case, ours = row["case"].partition(": ")[2], _spread(row, "ours") + unit
        lines.append([case, ours, peer, ratio, _target(row), met, row["n_runs"], f"{row['date']}, {row['commit']}"])
    return _table(("case", "ours", "peer", "ratio", "target", "met", "n", "measured"), lines)


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


BOTH_TIMES, SUITE = "(whole process|CPU time)", ".*numbers(: processor time)?"
FLOAT32, BEST = "at least 2 x open_clip", "at least 3 x open_clip in float32"
TARGETS = (
    ("M4, 1 million rows, retention given", "at most 1.5 x DuckDB", "balance", f"scale-1: .*cells: {BOTH_TIMES}"),
    ("M4, 1 million rows, retention auto", "at most 1.5 x DuckDB", "balance", f"scale-1: .*auto: {BOTH_TIMES}"),
    ("M4, 10 million rows, retention given", "at most DuckDB's", "balance", f"scale-10: .*cells: {BOTH_TIMES}"),
    ("M4, 10 million rows, retention auto", "at most DuckDB's", "balance", f"scale-10: .*auto: {BOTH_TIMES}"),
    ("M4, 100 million rows, retention given", "at most DuckDB's", "balance", f"scale-100: .*cells: {BOTH_TIMES}"),
    ("M4, 100 million rows, retention auto", "at most DuckDB's", "balance", f"scale-100: .*auto: {BOTH_TIMES}"),
    ("M4, 1 million scattered keys", "at most 1.5 x DuckDB", "balance", f"scattered-1: .*keys: {BOTH_TIMES}"),
    ("M4, 1 million scattered keys, auto", "at most 1.5 x DuckDB", "balance", f"scattered-1: .*auto: {BOTH_TIMES}"),
    ("M4, 10 million scattered keys", "at most DuckDB's", "balance", f"scattered-10: .*keys: {BOTH_TIMES}"),
    ("M4, 10 million scattered keys, auto", "at most DuckDB's", "balance", f"scattered-10: .*auto: {BOTH_TIMES}"),
    ("M4, nearly as many cells as rows, retention given", "at most 20 s CPU", "balance", "sparse: .*0.3: CPU time"),
    ("M4, nearly as many cells as rows, retention auto", "at most 60 s CPU", "balance", "sparse: .*auto: CPU time"),
    ("M4, 10,000 rows, from start to end", "at most 1 s", "balance", "start: .*end"),
    ("demo study, installed", "at most 120 s", "snakemake_cost", "demo: 2 runs, 8 seeds"),
    ("demo study, nothing to do", "at most 3 s", "snakemake_cost", "demo: nothing to do"),
    ("labels of captions by 500,000 phrases", "at least 50,000 captions/s of one core", "data", "phrases: .*"),
    ("small trainings, seeds together", "at least 5 x one process each", "seeds", "photos.*"),
    ("training on a CPU, small ViT, float32", FLOAT32, "train", "cpu: fp32.*steps.*"),
    ("training on a CPU, small ViT, bfloat16", BEST, "train", "cpu: bf16.*steps.*"),
    ("training on a CPU, small ResNet, float32", FLOAT32, "train", "resnet: fp32.*steps.*"),
    ("training on a CPU, small ResNet, bfloat16", BEST, "train", "resnet: bf16.*steps.*"),
    ("training on a CPU, Lite0 and MiniLM, float32", FLOAT32, "train", "towers: fp32.*"),
    ("training on a CPU, Lite0 and MiniLM, bfloat16", BEST, "train", "towers: bf16.*"),
    ("evaluation suite, small model", "at least 4 x CLIP_benchmark", "evaluate", f"small: {SUITE}"),
    ("evaluation suite, medium model", "at least 5 x CLIP_benchmark", "evaluate", f"medium: {SUITE}"),
)
"""What was to be reached: work, goal, table, and the cases that measure it."""


def targets() -> str:
    """Each target with what was measured last."""
    lines = []
    for work, goal, table, pattern in TARGETS:
        rows = [row for row in _read(table) if re.fullmatch(pattern, row["case"])]
        if not rows:
            raise ValueError(f"benchmarks/results/{table}.csv has no case for the goal '{work}'")
        for row in rows:
            measured, unit = _spread(row, "ours"), row["unit"]
            if row["peer"]:
                measured += f" against {_spread(row, 'peer')}"
            ratio = _spread(row, "ratio") if row["ratio"] else "-"
            cpu = unit == "s" and re.search("(CPU|processor) time", row["case"])
            work_in_unit, command = f"{work}: {unit}{' CPU' if cpu else ''}", f"{table} {row['case'].partition(':')[0]}"
            lines.append([work_in_unit, goal, measured, ratio, f"{row['n_runs']}, {row['date']}", f"`{command}`"])
    return _table(("work", "goal", "measured", "ratio", "n, date", "benchmark"), lines)


def since_first_build() -> str:
    """What the first build needed, against what is needed now: the same cases, each with its ratio to the same peer."""
    now = {(table, _same(row), row["unit"], row["peer_name"]): row
           for table in ("balance", "data", "evaluate", "train", "batches") for row in _read(table)}  # fmt: skip
    lines = []
    for row in _read("first_build"):
        found = now.get((row["table"], _same(row), row["unit"], row["peer_name"]))
        if found and found["date"] != row["date"]:
            unit = "" if row["unit"] == "1" else f" {row['unit']}"
            against = f", against {row['peer_name']}" if row["peer_name"] else ""
            cells = (f"{_number(entry['ours'])}{unit}{_ratio(entry)}" for entry in (row, found))
            lines.append([_same(row) + against, *cells, f"{row['date']}, {found['date']}"])
    return _table(("case", "first build (ratio to the peer)", "now", "measured"), lines)


def _same(row: Mapping[str, str]) -> str:
    """The case as it is named in both, without the number of steps and how well losses agreed."""
    case = re.sub(r", (mean )?losses within [\d.]+|, \d+ of 256", "", row["case"])
    return case.replace("labels: labels:", "labels:").replace("1 million rows, 10", "1,000,000 rows, 10")


def _ratio(row: Mapping[str, str]) -> str:
    return f" ({_number(row['ratio'])})" if row["ratio"] else ""


def knowledge_cost() -> str:
    """Time of a training step with each of Knowledge-CLIP's losses, for each model."""
    cells = {}
    for row in _read("knowledge"):
        model, case = row["case"].removeprefix("steps: ").split("; ", 1)
        cells[case, model] = f"{_spread(row, 'ours')} ms ({_spread(row, 'ratio')} x)"
    models, cases = (list(dict.fromkeys(key[k] for key in cells)) for k in (1, 0))
    return _table(("step", *models), ([case, *(cells.get((case, model), "-") for model in models)] for case in cases))


def growth() -> str:
    """For each thing of which a study has more: sizes, processor time, memory, and the fitted exponents."""
    lines = []
    for what, points in _growth().items():
        size, cpu_s, memory_mb = points
        lines.append([
            what, f"{size[0]:,.0f} to {size[-1]:,.0f}", f"{cpu_s[0]:.3g} to {cpu_s[-1]:.3g} s", _exponent(size, cpu_s),
            f"{memory_mb[0]:,.0f} to {memory_mb[-1]:,.0f} MB", _exponent(size, memory_mb),
        ])  # fmt: skip
    return _table(("more", "sizes", "processor time", "exponent", "memory", "exponent"), lines)


def growth_picture() -> bytes:
    """Processor time against size, each as a multiple of the smallest, as SVG."""
    from evenclip.report.drawing import COLORS, MARKERS, finish, panel

    with panel(3.4) as (figure, axes):
        for number, (what, (size, cpu_s, _)) in enumerate(_growth().items()):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            axes.loglog(size / size[0], cpu_s, color=color, marker=marker, label=what)
        axes.set_xlabel("times as many as the fewest")
        axes.set_ylabel("processor time (s)")
        axes.legend(ncols=2, fontsize=8)
        return finish(figure, "growth", "Processor time against size, both logarithmic").svg


def _growth() -> dict[str, np.ndarray]:
    """What grows -> sizes, processor seconds and MB, shape (3, n), by size."""
    points: dict[str, list[list[float]]] = {}
    for row in _read("growth"):
        own = points.setdefault(row["case"].partition(": ")[2], [])
        own.append([float(row[name]) for name in ("size", "cpu_s", "memory_mb")])
    return {what: np.array(sorted(own)).T for what, own in points.items()}


def _exponent(size: np.ndarray, cost: np.ndarray) -> str:
    """The exponent p of cost = start + b * size ^ p, by least squares of the logarithms; "-" where nothing grows."""
    if cost[-1] < 1.2 * cost[0]:
        return "-"

    def residual(parameters: np.ndarray) -> np.ndarray:
        start, factor, exponent = parameters
        return np.log(start + factor * (size / size[-1]) ** exponent) - np.log(cost)

    first = [cost[0] / 2, cost[-1], 1.0]
    fitted = least_squares(residual, first, bounds=([0, 1e-12, 0], [cost.min(), np.inf, 4]))
    return f"{fitted.x[2]:.2f}"


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


def _spread(row: Mapping[str, str], name: str) -> str:
    """A value, with its quartiles where it is a median of several."""
    value = _number(row[name])
    if not row.get(f"{name}_low"):
        return value
    return f"{value} ({_number(row[f'{name}_low'])} to {_number(row[f'{name}_high'])})"


def _target(row: Mapping[str, str]) -> str:
    """What was wanted; whether more or less is better follows from whether it was met."""
    if not row["target"]:
        return "-"
    measured = float(row["ratio"] or row["ours"])
    more_is_better = (measured >= float(row["target"])) == (row["met"] == "True")
    return f"at {'least' if more_is_better else 'most'} {float(row['target']):g}"


def _number(text: str) -> str:
    return f"{float(text):,.3g}" if abs(float(text)) < 1000 else f"{float(text):,.0f}"


def _read(name: str) -> list[dict[str, str]]:
    with open(RESULTS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


SECTIONS = {
    "benchmark": comparison, "strategies": strategies, "targets": targets, "first_build": since_first_build,
    "real_captions": real_captions,
    "growth": growth, "knowledge_cost": knowledge_cost, "link_prediction": link_prediction,
}  # fmt: skip
"""Names of sections in documents, and what fills them."""
