"""Measure the balance stage against its peers; writes benchmarks/results/balance.csv.

    python -m benchmarks.balance [CASE...]
        cases: start engines cvxpy preserve stochastic baselines scale-1 scale-10 scale-100
            scattered-1 scattered-10 sparse

Each case measures us and the peer in turn on the same input and machine, and checks that both computed the same thing
first. Peers: cvxpy with Clarabel (evenclip[test]), DuckDB, ipfn, AIF360 and balance (evenclip[bench]; before
Python 3.12 balance asks for numpy < 2 and needs an environment of its own), the paper's stochastic solver (ours).
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import SMOKE, cost, row, run, size
from benchmarks.measuring import peer as peer_module
from evenclip.balance import BalanceOptions, M4Balancer
from evenclip.balance.moments import Moments, build_moments
from evenclip.balance.options import PRESERVING_CAP
from evenclip.balance.problem import contrasts_of
from evenclip.balance.solvers.exact import certify_multipliers, solve
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.source import Source

RETENTION = 0.7
N_ROWS = size(100_000, 2000)
ROWS_PER_GROUP = 1 << 20


def synthetic_batches(
    n: int, n_attributes: int, n_labels: int, seed: int = 0, scattered: bool = False
) -> Iterator[pa.Table]:
    """Rows with pairs of groups (20 % and 30 % of the rows) and labels of 1-8 % that lean to one group.

    Keys of nine digits rise, or are ``scattered`` in steps of 3^18 modulo 10^9, in which each still occurs once.
    """
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.01, 0.08, n_labels)
    for start in range(0, n, ROWS_PER_GROUP):
        size = min(ROWS_PER_GROUP, n - start)
        numbers = np.arange(start, start + size) * (3**18 if scattered else 1) % 10**9
        columns = {"key": pa.array(np.char.mod("%09d", numbers))}
        groups = []
        for k in range(n_attributes):
            draw = rng.random(size, dtype=np.float32)
            groups.append((draw < 0.2, (draw >= 0.2) & (draw < 0.5)))
            columns |= {f"sensitive.a{k}.woman": groups[k][0], f"sensitive.a{k}.man": groups[k][1]}
        for r in range(n_labels):
            tilt = 1 + 0.8 * groups[r % n_attributes][r % 3 == 0]
            columns[f"target.l{r:03d}"] = rng.random(size, dtype=np.float32) < rates[r] * tilt
        yield pa.table(columns)


def timed(function: Callable, n_runs: int = 1) -> tuple[list[float], object]:
    """Wall times of ``n_runs`` calls, and the last result."""
    seconds, result = [], None
    for _ in range(size(n_runs, 1)):
        wall, _, result = cost(function)
        seconds.append(wall)
    return seconds, result


def moments_of(table: pa.Table, options: BalanceOptions | None = None) -> tuple[Moments, np.ndarray]:
    cells = count_cells(Source(table), 8)
    return build_moments(
        cells, contrasts_of(cells, "auto", {}), cells.columns.target, options or BalanceOptions()
    ), cells.count


def cvxpy_case() -> list[dict]:
    """M4 at n = 100,000, 2 attributes x 20 labels: rows in, weights out."""
    (table,) = synthetic_batches(N_ROWS, 2, 20)
    ours, solution = timed(lambda: solve(moments_of(table)[0], RETENTION, 1.0), 3)
    peer = timed_cvxpy(table, 1.0, None, solution.objective)
    return [row(f"M4, {N_ROWS:,} rows, 2 attributes x 20 labels", "s", ours, peer, "cvxpy (Clarabel)", 100)]


def preserve_case() -> list[dict]:
    """M4 with preserved labels at the same size: against plain M4 (the solve alone), and against cvxpy."""
    (table,) = synthetic_batches(N_ROWS, 2, 20)
    preserving, rows = BalanceOptions(preserve="labels"), []
    with_labels, plain = moments_of(table, preserving)[0], moments_of(table)[0]
    for cap in (1.0, PRESERVING_CAP):
        solves = [timed(lambda m=m, cap=cap: solve(m, RETENTION, cap), 9)[0] for m in (with_labels, plain)]
        case = f"M4 with preserved labels, {N_ROWS:,} rows, 2 attributes x 20 labels, cap {cap:g}, solve alone"
        rows.append(row(case, "s", *solves, "plain M4", 1.5, smaller=True))
    ours, solution = timed(lambda: solve(moments_of(table, preserving)[0], RETENTION, PRESERVING_CAP), 3)
    peer = timed_cvxpy(table, PRESERVING_CAP, preserving.preserve_tolerance, solution.objective)
    case = f"M4 with preserved labels, {N_ROWS:,} rows, 2 attributes x 20 labels, cap {PRESERVING_CAP:g}"
    return [*rows, row(case, "s", ours, peer, "cvxpy (Clarabel)", 100)]


def timed_cvxpy(table: pa.Table, cap: float, preserve_tolerance: float | None, objective: float) -> list[float]:
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
    from benchmarks.contestants.stochastic_dual_ascent import StochasticDual, examples

    (table,) = synthetic_batches(N_ROWS, 2, 20)
    moments, count = moments_of(table)
    ours, exact = timed(lambda: solve(moments, RETENTION, 1.0), 3)

    def reached(dual: "StochasticDual") -> bool:
        w = certify_multipliers(moments, RETENTION, 1.0, np.inf, dual.multiplier, dual.mean_multiplier)
        residual = moments.residual(w.weight, RETENTION)
        return bool((residual <= 1.1 * moments.tolerance).all() and abs(w.objective / exact.objective - 1) < 0.01)

    dual = StochasticDual(moments.tolerance, RETENTION, 1.0, 100.0, 1.0)
    dense = (moments.signal[:, :, None] * moments.labels.toarray()[:, None, :]).reshape(len(count), -1)
    allowed = 100 * float(np.median(ours))
    spent, epoch, done = 0.0, 0, False
    while spent < allowed and not done:
        order = examples(count, epoch)
        for part in np.array_split(order, 20):
            seconds, _ = timed(lambda part=part: [dual.update(dense[c], 1.0) for c in part])
            spent += sum(seconds)
            if done := reached(dual) or spent > allowed:
                break
        epoch += 1
    note = "" if reached(dual) else f" (the peer was stopped, not there, after {dual.seen} examples)"
    name = f"M4, same residuals and objective, {N_ROWS:,} rows{note}"
    return [row(name, "s", ours, spent, "stochastic dual ascent", 50)]


def start_case() -> list[dict]:
    """A small table, where the command mostly starts: from the shell's line to its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        n = size(10_000, 1000)
        pq.write_table(next(synthetic_batches(n, 2, 20)), path)
        command = [sys.executable, "-m", "evenclip", "balance", str(path), "--out", str(Path(folder) / "out")]
        runs = [measured(command) for _ in range(size(15, 1))]
    case = f"{n:,} rows, start to end"
    return [
        row(case, "s", [run["whole"] for run in runs], None, "", 1.0, smaller=True, threads=os.cpu_count()),
        row(f"{case}: CPU time", "s", [run["cpu"] for run in runs], threads=os.cpu_count()),
    ]


def scale_case(millions: int, scattered: bool = False) -> list[dict]:
    """The whole command (read, solve, write) against one GROUP BY over the same columns plus writing a column.

    Both sides are processes of their own, in turns, and say how long their work took without start and imports. The
    targets are on the whole processes. Keys rise, or are ``scattered``.
    """
    n, target = millions * size(1_000_000, 2000), 1.5 if millions == 1 else 1
    duckdb = has_module("duckdb")
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "labels.parquet", Path(folder) / "out"
        writer = None
        for table in synthetic_batches(n, 2, 20, scattered=scattered):
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        writer.close()
        columns = ", ".join(f'"{name}"' for name in table.column_names if name != "key")
        peer_command = [sys.executable, "-c", DUCKDB, str(path), str(Path(folder) / "peer.parquet"), columns]
        command = [sys.executable, "-m", "evenclip", "balance", str(path), "--out", str(out)]
        fixed = [*command, "--retention", str(RETENTION)]
        n_runs = size({1: 15, 10: 5}.get(millions, 3), 1)
        ours, peer, auto = [], [], []
        for _ in range(n_runs):
            ours.append(measured(fixed))
            report = json.loads((out / "report.json").read_text())
            ours[-1]["call"] = report["seconds"]
            if duckdb:
                peer.append(measured(peer_command))
                seconds, n_cells = peer[-1].pop("printed").split()
                peer[-1]["call"] = float(seconds)
            auto.append(measured(command))
    assert report["converged"] and report["feasible"] and report["n"] == n
    assert not duckdb or int(n_cells) == report["n_cells"], (n_cells, report["n_cells"])
    case = f"{millions} million rows, {report['n_cells']} cells{', scattered keys' if scattered else ''}"
    kinds = {"whole": ("whole process", target), "call": ("without start and imports", None)}
    kinds["cpu"] = ("CPU time", target)

    def against_duckdb(what: str, runs: list[dict], kind: str, target: float | None) -> dict:
        theirs = [run[kind] for run in peer] or None
        return row(
            what, "s", [run[kind] for run in runs], theirs, DUCKDB_NAME, target, smaller=True, threads=os.cpu_count()
        )

    rows = [against_duckdb(f"{case}: {label}", ours, kind, target) for kind, (label, target) in kinds.items()]
    for kind in ("whole", "cpu"):
        rows.append(against_duckdb(f"{case}, retention auto: {kinds[kind][0]}", auto, kind, target))
    return [*rows, row(f"{case}: peak memory", "MB", report["peak_memory_mb"], None, "", 3000, smaller=True)]


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


ENGINES = {
    "ours": """
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.source import Source
print(len(count_cells(Source(path), 8).count))
""",
    "pyarrow": """
import pyarrow.parquet as pq
table = pq.read_table(path, columns=columns)
print(table.group_by(columns).aggregate([([], "count_all")]).num_rows)
""",
    "duckdb": """
import duckdb
names = ", ".join(f'"{name}"' for name in columns)
print(duckdb.execute(f"SELECT count(*) FROM (SELECT {names}, count(*) FROM '{path}' GROUP BY {names})").fetchone()[0])
""",
    "polars": """
import polars as pl
print(pl.scan_parquet(path).group_by(columns).len().collect().height)
""",
}


def engines_case() -> list[dict]:
    """Counting the rows of each cell, by each engine in a process of its own: what balancing could be built on."""
    spent: dict[str, list[dict]] = {name: [] for name in ENGINES if name == "ours" or has_module(name)}
    with tempfile.TemporaryDirectory() as folder:
        path, n = Path(folder) / "labels.parquet", size(3_000_000, 2000)
        writer = None
        for table in synthetic_batches(n, 2, 20):
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        writer.close()
        start = f"path, columns = {str(path)!r}, {[name for name in table.column_names if name != 'key']!r}\n"
        for _ in range(size(5, 1)):
            for name, runs in spent.items():
                runs.append(measured([sys.executable, "-c", start + ENGINES[name]]))
    counts = {int(run["printed"]) for runs in spent.values() for run in runs}
    assert len(counts) == 1, counts
    ours, rows = spent.pop("ours"), []
    for name, runs in spent.items():
        for kind, unit in (("whole", "s"), ("cpu", "s CPU")):
            figures = ([run[kind] for run in side] for side in (ours, runs))
            case = f"{n:,} rows to {max(counts):,} cells, start included"
            rows.append(row(case, unit, *figures, name, threads=os.cpu_count()))
    return rows


def has_module(name: str) -> bool:
    """Whether a peer is there, without which only a smoke run goes on."""
    if SMOKE:
        return importlib.util.find_spec(name) is not None
    return bool(peer_module(name, name))


def measured(command: list[str]) -> dict:
    """Run a command: its wall and CPU time in seconds, and what it printed. All cores, as people run it."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    whole, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"whole": whole, "cpu": cpu, "printed": done.stdout}


def sparse_case() -> list[dict]:
    """1 million rows, 10 attributes, 200 labels, 3 labels a row: cells nearly as many as rows."""
    rng = np.random.default_rng(0)
    n, n_attributes, n_labels = size(1_000_000, 2000), 10, size(200, 20)
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
        for retention, most_s in (("0.3", 20), ("auto", 60)):
            runs = [measured([*command, "--retention", retention]) for _ in range(size(3, 1))]
            report = json.loads((out / "report.json").read_text())
            assert report["converged"] and report["feasible"]
            case = f"{n:,} rows, {n_attributes} attributes x {n_labels} labels, {report['n_cells']} cells"
            case += f", retention {retention}"
            rows += [
                row(case, "s", [run["whole"] for run in runs]),
                row(f"{case}: CPU time", "s", [run["cpu"] for run in runs], None, "", most_s, smaller=True),
                row(f"{case}: peak memory", "MB", report["peak_memory_mb"]),
                row(f"{case}: relative gap", "1", report["relative_gap"], None, "", 1e-8, smaller=True),
            ]
    return rows


def baselines_case() -> list[dict]:
    """Raking and reweighing, against the packages that people use for them: weights and time."""
    import pandas as pd

    for name in ("aif360", "balance", "ipfn"):
        peer_module(name, "'evenclip[bench]'")
    from aif360.algorithms.preprocessing import Reweighing
    from aif360.datasets import BinaryLabelDataset
    from balance.weighting_methods.rake import rake
    from ipfn.ipfn import ipfn

    (table,) = synthetic_batches(N_ROWS, 2, 1)
    groups = ["sensitive.a0.woman", "sensitive.a1.woman"]
    table = table.select([*groups, "target.l000"])
    frame = pd.DataFrame({c: table.column(c).to_numpy(zero_copy_only=False).astype(float) for c in table.column_names})
    target = pd.DataFrame({groups[0]: [0.0, 1.0], groups[1]: [0.0, 1.0]})  # half of the rows in either group

    def of_ipfn() -> np.ndarray:
        counts = frame[groups].value_counts().reset_index().astype(float)
        margins = [pd.Series([N_ROWS / 2] * 2, index=pd.Index([0.0, 1.0], name=group)) for group in groups]
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
        case = f"{strategy}, {N_ROWS:,} rows, against {name}"
        rows.append(row(case, "s", ours, theirs, name))
        rows.append(row(f"{case}: largest relative difference", "1", off, None, "", 1e-6, smaller=True))
    return rows


CASES = {
    "start": start_case, "engines": engines_case,
    "cvxpy": cvxpy_case, "preserve": preserve_case, "stochastic": stochastic_case, "sparse": sparse_case,
    "baselines": baselines_case,
    "scale-1": lambda: scale_case(1), "scale-10": lambda: scale_case(10), "scale-100": lambda: scale_case(100),
    "scattered-1": lambda: scale_case(1, True), "scattered-10": lambda: scale_case(10, True),
}  # fmt: skip


if __name__ == "__main__":
    run("balance", CASES)
