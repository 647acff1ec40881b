"""Measure the balance stage against its peers; writes benchmarks/results/balance.csv (and balance_real.csv,
balance_strategies.csv).

    python -P benchmarks/balance.py CASE...
        cases: cvxpy preserve stochastic baselines scale-1 scale-10 scale-100 sparse real strategies

Each case measures us and the peer in turn on the same input and machine, and checks that both computed the same thing
first. Peers: cvxpy with Clarabel (evenclip[test]), DuckDB, ipfn, AIF360 and balance (evenclip[bench]; before
Python 3.12 balance asks for numpy < 2 and needs an environment of its own), the paper's stochastic solver (ours).
-P keeps this file from hiding the package balance. A case replaces its own rows of the table and leaves the others.
`real` and `strategies` need EVENCLIP_REAL_DATA.
"""

import csv
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evenclip.balance import BalanceOptions, M4Balancer, audit
from evenclip.balance.moments import Moments, build_moments
from evenclip.balance.options import PRESERVING_CAP
from evenclip.balance.problem import contrasts_of
from evenclip.balance.solvers.exact import certify_multipliers, solve
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.source import Source
from evenclip.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "results" / "balance.csv"
STRATEGIES_TABLE = ROOT / "benchmarks" / "results" / "balance_strategies.csv"
REAL_TABLE = ROOT / "benchmarks" / "results" / "balance_real.csv"
COLUMNS = ["case", "unit", "ours", "peer", "peer_name", "ratio", "target", "met", "n_runs", "date", "commit", "machine"]
RETENTION = 0.7
ROWS_PER_GROUP = 1 << 20


def synthetic_batches(n: int, n_attributes: int, n_labels: int, seed: int = 0) -> Iterator[pa.Table]:
    """Rows with pairs of groups (20 % and 30 % of the rows) and labels of 1-8 % that lean to one group."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.01, 0.08, n_labels)
    for start in range(0, n, ROWS_PER_GROUP):
        size = min(ROWS_PER_GROUP, n - start)
        columns = {"key": pa.array(np.char.mod("%09d", np.arange(start, start + size)))}
        groups = []
        for k in range(n_attributes):
            draw = rng.random(size, dtype=np.float32)
            groups.append((draw < 0.2, (draw >= 0.2) & (draw < 0.5)))
            columns |= {f"sensitive.a{k}.woman": groups[k][0], f"sensitive.a{k}.man": groups[k][1]}
        for r in range(n_labels):
            tilt = 1 + 0.8 * groups[r % n_attributes][r % 3 == 0]
            columns[f"target.l{r:03d}"] = rng.random(size, dtype=np.float32) < rates[r] * tilt
        yield pa.table(columns)


def timed(function: Callable, n_runs: int = 1) -> tuple[float, object]:
    """Best wall time of ``n_runs`` calls, and the last result."""
    best, result = np.inf, None
    for _ in range(n_runs):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def moments_of(table: pa.Table, options: BalanceOptions | None = None) -> tuple[Moments, np.ndarray]:
    cells = count_cells(Source(table), 8)
    return build_moments(
        cells, contrasts_of(cells, "auto", {}), cells.columns.target, options or BalanceOptions()
    ), cells.count


def cvxpy_case() -> list[dict]:
    """M4 at n = 100,000, 2 attributes x 20 labels: rows in, weights out."""
    (table,) = synthetic_batches(100_000, 2, 20)
    ours, solution = timed(lambda: solve(moments_of(table)[0], RETENTION, 1.0), 3)
    peer = timed_cvxpy(table, 1.0, None, solution.objective)
    return [row("M4, 100,000 rows, 2 attributes x 20 labels", "s", ours, peer, "cvxpy (Clarabel)", 100, 3)]


def preserve_case() -> list[dict]:
    """M4 with preserved labels at the same size: against plain M4 (the solve alone), and against cvxpy."""
    (table,) = synthetic_batches(100_000, 2, 20)
    preserving, rows = BalanceOptions(preserve="labels"), []
    with_labels, plain = moments_of(table, preserving)[0], moments_of(table)[0]
    for cap in (1.0, PRESERVING_CAP):
        solves = [timed(lambda m=m, cap=cap: solve(m, RETENTION, cap), 9)[0] for m in (with_labels, plain)]
        case = f"M4 with preserved labels, 100,000 rows, 2 attributes x 20 labels, cap {cap:g}, solve alone"
        rows.append(row(case, "s", *solves, "plain M4", 1.5, 9, smaller=True))
        print(rows[-1], flush=True)
    ours, solution = timed(lambda: solve(moments_of(table, preserving)[0], RETENTION, PRESERVING_CAP), 3)
    peer = timed_cvxpy(table, PRESERVING_CAP, preserving.preserve_tolerance, solution.objective)
    case = f"M4 with preserved labels, 100,000 rows, 2 attributes x 20 labels, cap {PRESERVING_CAP:g}"
    return [*rows, row(case, "s", ours, peer, "cvxpy (Clarabel)", 100, 3)]


def timed_cvxpy(table: pa.Table, cap: float, preserve_tolerance: float | None, objective: float) -> float:
    """Seconds that cvxpy takes for the same problem over rows; its optimum must be ``objective``."""
    import cvxpy as cp

    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names[1:]}
    moments, eps = [], []
    for k in range(2):
        man, woman = columns[f"sensitive.a{k}.man"], columns[f"sensitive.a{k}.woman"]
        signal, covered = 0.5 * man - 0.5 * woman, man | woman
        moments.append(signal)
        eps.append(0.005 * covered.mean())
        for r in range(20):
            label = columns[f"target.l{r:03d}"]
            moments.append(signal * label)
            eps.append(0.05 * (label & covered).mean() * 0.25)
    if preserve_tolerance is not None:
        covered = [columns[f"sensitive.a{k}.man"] | columns[f"sensitive.a{k}.woman"] for k in range(2)]
        for flags in [*(columns[f"target.l{r:03d}"] for r in range(20)), *covered]:
            moments.append(flags - flags.mean())
            eps.append(preserve_tolerance * flags.mean())
    n, matrix, limit = len(table), np.array(moments), RETENTION * np.array(eps)
    q = cp.Variable(n)
    problem = cp.Problem(
        cp.Minimize(0.5 * cp.sum_squares(q - RETENTION) / n),
        [cp.abs(matrix @ q / n) <= limit, cp.sum(q) / n == RETENTION, q >= 0, q <= cap],
    )
    seconds, _ = timed(lambda: problem.solve(solver=cp.CLARABEL))
    assert abs(problem.value - objective) < 1e-6 * problem.value, (problem.value, objective)
    return seconds


def stochastic_case() -> list[dict]:
    """Time to reach residuals within 10 % of the tolerance and 1 % of the optimum; the peer stops after 100x ours."""
    sys.path.append(str(ROOT / "benchmarks"))  # at the end: -P keeps it from the start
    from contestants.stochastic_dual_ascent import StochasticDual, examples

    (table,) = synthetic_batches(100_000, 2, 20)
    moments, count = moments_of(table)
    ours, exact = timed(lambda: solve(moments, RETENTION, 1.0), 3)

    def reached(dual: "StochasticDual") -> bool:
        w = certify_multipliers(moments, RETENTION, 1.0, np.inf, dual.multiplier, dual.mean_multiplier)
        residual = moments.residual(w.weight, RETENTION)
        return bool((residual <= 1.1 * moments.tolerance).all() and abs(w.objective / exact.objective - 1) < 0.01)

    dual = StochasticDual(moments.tolerance, RETENTION, 1.0, 100.0, 1.0)
    dense = (moments.signal[:, :, None] * moments.labels.toarray()[:, None, :]).reshape(len(count), -1)
    spent, epoch, done = 0.0, 0, False
    while spent < 100 * ours and not done:
        order = examples(count, epoch)
        for part in np.array_split(order, 20):
            seconds, _ = timed(lambda part=part: [dual.update(dense[c], 1.0) for c in part])
            spent += seconds
            if done := reached(dual) or spent > 100 * ours:
                break
        epoch += 1
    note = "" if reached(dual) else f" (the peer was stopped, not there, after {dual.seen} examples)"
    name = f"M4, same residuals and objective, 100,000 rows{note}"
    return [row(name, "s", ours, spent, "stochastic dual ascent", 50, 3)]


def scale_case(millions: int) -> list[dict]:
    """The whole command (read, solve, write) against one GROUP BY over the same columns plus writing a column.

    Both sides are processes of their own, in turns, and say how long their work took without start and imports. The
    target is on the whole processes.
    """
    n = millions * 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "labels.parquet", Path(folder) / "out"
        writer = None
        for table in synthetic_batches(n, 2, 20):
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        writer.close()
        columns = ", ".join(f'"{name}"' for name in table.column_names if name != "key")
        peer_command = [sys.executable, "-c", DUCKDB, str(path), str(Path(folder) / "peer.parquet"), columns]
        command = [sys.executable, "-m", "evenclip", "balance", str(path), "--out", str(out)]
        fixed = [*command, "--retention", str(RETENTION)]
        n_runs = 15 if millions == 1 else 4 if millions == 10 else 1
        ours, peer, auto = [], [], []
        for _ in range(n_runs):
            ours.append(measured(fixed))
            report = json.loads((out / "report.json").read_text())
            ours[-1]["call"] = report["seconds"]
            peer.append(measured(peer_command))
            seconds, n_cells = peer[-1].pop("printed").split()
            peer[-1]["call"] = float(seconds)
            if millions <= 10:
                auto.append(measured(command))
    assert report["converged"] and report["feasible"] and report["n"] == n
    assert int(n_cells) == report["n_cells"], (n_cells, report["n_cells"])
    case = f"{millions} million rows, {report['n_cells']} cells"
    kinds = {"whole": ("whole process", 3), "call": ("without start and imports", None), "cpu": ("CPU time", None)}
    rows = [
        row(f"{case}: {label}", "s", best(ours, kind), best(peer, kind), DUCKDB_NAME, target, n_runs, smaller=True)
        for kind, (label, target) in kinds.items()
    ]
    if auto:
        name = f"{case}, retention auto: whole process"
        rows.append(row(name, "s", best(auto, "whole"), best(peer, "whole"), DUCKDB_NAME, None, n_runs, smaller=True))
    memory = row(f"{case}: peak memory", "MB", report["peak_memory_mb"], None, "", 3000, 1, smaller=True)
    return [*rows, memory]


DUCKDB_NAME = "DuckDB GROUP BY + write"
DUCKDB = """
import os, sys, time, duckdb
start = time.perf_counter()
path, out, columns = sys.argv[1:]
connection = duckdb.connect()
connection.execute(f"SET threads = {os.cpu_count()}")
connection.execute("SET enable_progress_bar = false")
query = f"SELECT count(*) FROM (SELECT {columns}, count(*) FROM '{path}' GROUP BY {columns})"
(n_cells,) = connection.execute(query).fetchone()
weights = f"SELECT key, 0.5::FLOAT AS weight, 1::UTINYINT AS copies FROM '{path}'"
connection.execute(f"COPY ({weights}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
print(time.perf_counter() - start, n_cells)
"""


def measured(command: list[str]) -> dict:
    """Run a command: its wall and CPU time in seconds, and what it printed. All cores, as people run it."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    whole, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"whole": whole, "cpu": cpu, "printed": done.stdout}


def best(runs: list[dict], kind: str) -> float:
    return min(run[kind] for run in runs)


def sparse_case() -> list[dict]:
    """1 million rows, 10 attributes, 200 labels, 3 labels a row: cells nearly as many as rows."""
    rng = np.random.default_rng(0)
    n, n_attributes, n_labels = 1_000_000, 10, 200
    columns, groups = {}, []
    for k in range(n_attributes):
        draw = rng.random(n)
        groups.append((draw < 0.35, (draw >= 0.35) & (draw < 0.85)))
        columns |= {f"sensitive.a{k}.x": groups[k][0], f"sensitive.a{k}.y": groups[k][1]}
    for r in range(n_labels):
        x, y = groups[r % n_attributes]
        columns[f"target.l{r:03d}"] = rng.random(n) < 3 / n_labels * (1 + 0.6 * x - 0.3 * y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        pq.write_table(pa.table(columns | {"key": [str(i) for i in range(n)]}), path)
        del columns, groups
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "evenclip", "balance", str(path), "--out", str(out)]
        rows = []
        for retention in ("0.3", "auto"):
            seconds = measured([*command, "--retention", retention])["whole"]
            report = json.loads((out / "report.json").read_text())
            assert report["converged"] and report["feasible"]
            case = f"1 million rows, 10 attributes x 200 labels, {report['n_cells']} cells, retention {retention}"
            rows += [
                row(case, "s", seconds, None, "", None, 1),
                row(f"{case}: peak memory", "MB", report["peak_memory_mb"], None, "", None, 1),
                row(f"{case}: relative gap", "1", report["relative_gap"], None, "", 1e-8, 1, smaller=True),
            ]
    return rows


def baselines_case() -> list[dict]:
    """Raking and reweighing, 100,000 rows, against the packages that people use for them: weights and time."""
    import pandas as pd
    from aif360.algorithms.preprocessing import Reweighing
    from aif360.datasets import BinaryLabelDataset
    from balance.weighting_methods.rake import rake
    from ipfn.ipfn import ipfn

    (table,) = synthetic_batches(100_000, 2, 1)
    groups = ["sensitive.a0.woman", "sensitive.a1.woman"]
    table = table.select([*groups, "target.l000"])
    frame = pd.DataFrame({c: table.column(c).to_numpy(zero_copy_only=False).astype(float) for c in table.column_names})
    target = pd.DataFrame({groups[0]: [0.0, 1.0], groups[1]: [0.0, 1.0]})  # half of the rows in either group

    def of_ipfn() -> np.ndarray:
        counts = frame[groups].value_counts().reset_index().astype(float)
        margins = [pd.Series([50_000.0] * 2, index=pd.Index([0.0, 1.0], name=group)) for group in groups]
        fitted = ipfn(counts.rename(columns={"count": "total"}), margins, [[g] for g in groups], convergence_rate=1e-12)
        cells = fitted.iteration().merge(counts, on=groups)
        return frame.merge(cells, on=groups, how="left").eval("total / count").to_numpy()

    def of_balance() -> np.ndarray:
        ones = [pd.Series(np.ones(len(part))) for part in (frame, target)]
        raked = rake(frame[groups], ones[0], target, ones[1], transformations=None, convergence_rate=1e-12)
        return raked["weight"].to_numpy()

    def of_aif360() -> np.ndarray:
        pair = frame[[groups[0], "target.l000"]]
        data = BinaryLabelDataset(df=pair, label_names=["target.l000"], protected_attribute_names=groups[:1])
        return Reweighing([{groups[0]: 0.0}], [{groups[0]: 1.0}]).fit_transform(data).instance_weights

    rows = []
    for strategy, columns, name, peer in (
        ("raking", table.column_names, "ipfn", of_ipfn),
        ("raking", table.column_names, "balance's rake", of_balance),
        ("reweighing", [groups[0], "target.l000"], "AIF360's Reweighing", of_aif360),
    ):
        part = table.select(columns)
        ours, weight = timed(lambda part=part, strategy=strategy: M4Balancer(strategy=strategy).fit(part).weight_, 3)
        theirs, expected = timed(peer, 3)
        off = float(np.abs(weight / weight.mean(dtype=float) / (expected / expected.mean()) - 1).max())
        case = f"{strategy}, 100,000 rows, against {name}"
        rows.append(row(case, "s", ours, theirs, name, None, 3))
        rows.append(row(f"{case}: largest relative difference", "1", off, None, "", 1e-6, 1, smaller=True))
    return rows


def real_case() -> None:
    """Captions of real data sets: bias before and after, and the largest retention; see docs/balance.md."""
    from evenclip.label.from_captions import label_captions
    from evenclip.label.lexicon import read_lexicon
    from evenclip.label.matching import Matcher

    folder = Path(os.environ.get("EVENCLIP_REAL_DATA", ROOT.parent / "shared" / "data"))
    rows = []
    for name, lexicon, captions in real_captions(folder):
        matcher = Matcher(read_lexicon(ROOT / "config" / "lexicons" / f"{lexicon.removesuffix('_lexicon')}.yaml"))
        labels, _ = label_captions(captions, matcher, "any")
        table = pa.table({column: labels[:, j] for j, column in enumerate(matcher.columns)})
        pair = [c for c in table.column_names if c.startswith("sensitive.gender.")]
        gendered = np.logical_or.reduce([table.column(c).to_numpy() for c in pair])
        enough = [c for c in table.column_names if c.startswith("target.")
                  and (table.column(c).to_numpy() & gendered).sum() >= 10]  # fmt: skip
        report = M4Balancer().fit(table.select(pair + enough)).report_
        fields = ("n", "n_cells", "rb_before", "rb_after", "ab_before", "ab_after", "realised_rb", "realised_ab",
                  "largest_retention", "relative_gap", "ess")  # fmt: skip
        rows.append({"data": name, "lexicon": lexicon, "n_labels": len(enough)} | {f: report[f] for f in fields})
    write_csv(REAL_TABLE, rows)


STRATEGIES = {
    "none": {},
    "m4": {},
    "m4_preserve 0.1": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.1},
    "m4_preserve 0.25": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.25},
    "m4_preserve 0.5": {"strategy": "m4", "preserve": "labels", "preserve_tolerance": 0.5},
    "thin": {},
    "metaclip": {},
    "reweighing": {"cap": 100},
}
MIN_ROWS = 10  # rows of a label on either side of the contrast, so that all strategies can have the same labels


def strategies_case() -> None:
    """What each strategy leaves of real and drawn labels: bias, kept shares, effective size, copies, seconds."""
    folder = Path(os.environ.get("EVENCLIP_REAL_DATA", ROOT.parent / "shared" / "data"))
    rows = []
    for name, table in labelled_sets(folder):
        for strategy, options in STRATEGIES.items():
            given = {"strategy": strategy} | options
            rows.append({"data": name, "strategy": strategy} | measured_strategy(table, given))
            print(rows[-1], flush=True)
    write_csv(STRATEGIES_TABLE, rows)


def measured_strategy(table: pa.Table, options: dict) -> dict:
    """One row of the strategies' table; null where the strategy's weights are refused."""
    columns = ["n", "n_labels", "rb", "ab", "ab_text_text", "ab_text_image", "ab_image_text", "ab_image_image",
               "kept_min", "kept_mean", "ess", "copies", "retention", "largest_retention", "seconds",
               "note"]  # fmt: skip
    entry = dict.fromkeys(columns)
    try:
        seconds, balancer = timed(lambda: M4Balancer(**options).fit(table))
    except InputError as error:
        return entry | {"note": error.what}
    report = balancer.report_
    keys = pa.array(np.arange(len(table)).astype(str))
    weights = pa.table({"key": keys, "weight": balancer.weight_})
    crossings = audit(table.append_column("key", keys), weights, n_bootstrap=0)["crossings"]
    for sides, stages in crossings.items():
        entry[f"ab_{sides.replace('-', '_')}"] = stages["after"]["value"]
    if not crossings:
        entry["ab_text_text"] = report["ab_after"]
    kept = [part["kept"] for part in report["kept"] if part["group"] is None]
    return entry | {
        "n": report["n"], "n_labels": len(kept), "rb": report["rb_after"], "ab": report["ab_after"],
        "kept_min": min(kept), "kept_mean": float(np.mean(kept)), "ess": report["ess"] / report["n"],
        "copies": report["most_copies"], "retention": report["retention"],
        "largest_retention": report["largest_retention"], "seconds": seconds,
    }  # fmt: skip


def labelled_sets(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Labels with at least `MIN_ROWS` rows on either side of gender (or of the drawn group)."""
    from evenclip.data.options import WorldOptions
    from evenclip.data.world.synthesize import synthesize
    from evenclip.label import LabelOptions, label_dataset
    from evenclip.label.from_captions import label_captions
    from evenclip.label.lexicon import read_lexicon
    from evenclip.label.matching import Matcher
    from evenclip.options import read_yaml

    with tempfile.TemporaryDirectory() as temporary:
        data, labels = Path(temporary) / "world", Path(temporary) / "labels.parquet"
        demo = read_yaml(ROOT / "config" / "config.yaml")["data"]["world"]
        synthesize(data, "train", demo["splits"]["train"], 0, WorldOptions(**demo.get("world", {})))
        lexicon = ROOT / "config" / "lexicons" / "world.yaml"
        both = {"columns": {"group": "group"}, "target_columns": ["occupation"]}
        for name, options in (("demo world, captions", {}), ("demo world, both sides", both)):
            label_dataset(data, lexicon, labels, LabelOptions(**options))
            yield name, with_counterexamples(pq.read_table(labels))
    for name, lexicon, captions in real_captions(folder):
        if (name, lexicon) not in [(n, "flickr8k_lexicon") for n in ("Flickr8k", "COCO val2017", "CC3M validation")]:
            continue
        matcher = Matcher(read_lexicon(ROOT / "config" / "lexicons" / "flickr8k.yaml"))
        flags, _ = label_captions(captions, matcher, "any")
        table = pa.table({column: flags[:, j] for j, column in enumerate(matcher.columns)})
        yield name, with_counterexamples(table)
    yield "UTKFace", with_counterexamples(utkface_labels(folder / "utkface" / "UTKFace.tar"))


def with_counterexamples(table: pa.Table) -> pa.Table:
    """Gender or group, and the labels that at least `MIN_ROWS` rows of each group have."""
    groups = [c for c in table.column_names if ".gender." in c or ".group." in c]
    flags = [table.column(c).to_numpy(zero_copy_only=False).astype(bool) for c in groups]
    labels = [c for c in table.column_names if "target." in c and not c.startswith("proxy")]
    enough = [c for c in labels if min((table.column(c).to_numpy() & s).sum() for s in flags) >= MIN_ROWS]
    return table.select([*groups, *enough])


def utkface_labels(path: Path) -> pa.Table:
    """Perceived gender, and age band and race as labels, from the names of UTKFace's files."""
    with tarfile.open(path) as archive:
        names = [Path(member.name).name for member in archive if member.isfile()]
    matches = [match for match in map(re.compile(r"(\d+)_([01])_([0-4])_\d+").match, names) if match]
    age, gender, race = np.array([[int(value) for value in match.groups()] for match in matches]).T
    columns = {"image.sensitive.gender.man": gender == 0, "image.sensitive.gender.woman": gender == 1}
    bands = (("child", 0, 13), ("young", 13, 30), ("middle", 30, 60), ("old", 60, 200))
    columns |= {f"image.target.{name}": (low <= age) & (age < high) for name, low, high in bands}
    races = ("white", "black", "asian", "indian", "other")
    return pa.table(columns | {f"image.target.{name}": race == k for k, name in enumerate(races)})


def real_captions(folder: Path) -> Iterator[tuple[str, str, list[list[str]]]]:
    def pooled(pairs: list[tuple[str, str]]) -> list[list[str]]:
        groups: dict[str, list[str]] = {}
        for image, caption in pairs:
            groups.setdefault(image, []).append(caption)
        return list(groups.values())

    lines = list(csv.reader((folder / "flickr8k" / "captions.txt").open(encoding="utf-8")))[1:]
    yield "Flickr8k", "flickr8k_lexicon", pooled([(line[0], line[-1]) for line in lines])
    coco = json.loads((folder / "coco" / "annotations" / "captions_val2017.json").read_text())["annotations"]
    coco_pairs = [(str(item["image_id"]), item["caption"]) for item in coco]
    yield "COCO val2017", "flickr8k_lexicon", pooled(coco_pairs)
    yield "COCO val2017", "people_lexicon", pooled(coco_pairs)
    tsv = next((folder / "cc3m").glob("*.tsv")).read_text(encoding="utf-8").splitlines()
    cc3m = [[line.split("\t")[0]] for line in tsv]
    yield "CC3M validation", "flickr8k_lexicon", cc3m
    yield "CC3M validation", "people_lexicon", cc3m
    items = [item for path in sorted((folder / "vlchecklist").rglob("*.json")) for item in json.loads(path.read_text())]
    yield "VL-CheckList", "flickr8k_lexicon", pooled([(image, text) for image, entry in items for text in entry["POS"]])


def row(
    case: str, unit: str, ours: float, peer: float | None, peer_name: str, target: float | None, n_runs: int,
    smaller: bool = False,
) -> dict:  # fmt: skip
    """One row; ``ratio`` is peer / ours (speed-up), or ours / peer where ``smaller``, and meets ``target``."""
    ratio = None if peer is None else ours / peer if smaller else peer / ours
    judged = ours if peer is None else ratio
    met = None if target is None else bool(judged <= target if smaller else judged >= target)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    values = [case, unit, ours, peer, peer_name, ratio, target, met, n_runs, time.strftime("%Y-%m-%d"),
              commit.stdout.strip(), machine]  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)


CASES = {
    "cvxpy": cvxpy_case, "preserve": preserve_case, "stochastic": stochastic_case, "sparse": sparse_case,
    "baselines": baselines_case,
    "scale-1": lambda: scale_case(1), "scale-10": lambda: scale_case(10), "scale-100": lambda: scale_case(100),
}  # fmt: skip


def main() -> None:
    """Run the cases named on the command line and merge their rows into the table."""
    others = {"real": real_case, "strategies": strategies_case}
    for name in sys.argv[1:] or [*CASES, *others]:
        if name in others:
            others[name]()
            continue
        new = CASES[name]()
        old = list(csv.DictReader(TABLE.open(encoding="utf-8"))) if TABLE.exists() else []
        for entry in new:
            entry["case"] = f"{name}: {entry['case']}"
        kept = [r for r in old if not r["case"].startswith(f"{name}:")]
        write_csv(TABLE, kept + new)
        for entry in new:
            print(name, {k: entry[k] for k in ("case", "ours", "peer", "ratio", "met")}, flush=True)


if __name__ == "__main__":
    main()
