"""What the benchmarks share: the conditions under which a measurement counts, its rows, and the committed tables.

A benchmark is a module of cases, `python -m benchmarks.NAME [CASE...]` from the checkout. `--smoke` runs each case once
on a tiny input, wherever it is, to see that it still works; its figures mean nothing and go to `--out` only.
"""

import argparse
import compileall
import csv
import importlib
import io
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SMOKE = "--smoke" in sys.argv
COLUMNS = ["case", "unit", "ours", "ours_low", "ours_high", "peer", "peer_low", "peer_high", "peer_name", "ratio",
           "ratio_low", "ratio_high", "target", "met", "n_runs", "threads", "date", "commit", "machine"]  # fmt: skip
MAX_LOAD = 0.25
"""Cores that other work may use, on average, while a case is measured."""
TICKS = os.sysconf("SC_CLK_TCK")
# a small process of its own, because a child's peak of memory starts at that of its parent
PROBE = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)  # Linux counts in KB
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Missing(Exception):
    """A peer that is not installed, or data that are not there."""


def size(whole: Value, smoke: Value) -> Value:
    """A number, or a choice, for what is measured, or in a smoke run the tiny one."""
    return smoke if SMOKE else whole


def peer(module: str, install: str) -> ModuleType:
    """The module of a peer; `Missing` with what to install where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"{error}: pip install {install}") from error


def real_data(*parts: str) -> Path:
    """A file or folder of the real data (EVENCLIP_REAL_DATA); `Missing` where it is not there."""
    path = Path(os.environ.get("EVENCLIP_REAL_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        raise Missing(f"no {path}: EVENCLIP_REAL_DATA names the folder of the real data")
    return path


def cost(work: Callable[[], object]) -> tuple[float, float, object]:
    """Wall and processor seconds of a call, finished child processes included, and its result."""
    started, before = time.perf_counter(), cpu_s()
    result = work()
    return time.perf_counter() - started, cpu_s() - before, result


def command_cost(
    command: Sequence[object], cwd: Path = ROOT, source: Path = ROOT / "src"
) -> tuple[float, float, float]:
    """Wall and processor seconds of a command, and the most memory that it had at once, in MB.

    It runs on one thread, with the package in ``source``.
    """
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    probe = [sys.executable, "-IS", "-c", PROBE, *map(str, command)]
    done = subprocess.run(probe, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))[:300]}\n{done.stderr[-2000:]}")
    return tuple(map(float, done.stdout.split()))


def cpu_s() -> float:
    """Processor seconds of this process and its finished children so far."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run(table: str, cases: Mapping[str, Callable[[], Iterable[dict]]]) -> None:
    """Run the cases named on the command line, or all; each replaces its own rows of ``table``, the others stay.

    The table is written if the conditions of a fair measurement held all the time; otherwise the exit status is 2 and
    one line says what to do.
    """
    chosen, out = begin(cases)
    for name in chosen:
        rows = measured(name, cases[name])
        if rows:
            write_rows(out / f"{table}.csv", [entry | {"case": f"{name}: {entry['case']}"} for entry in rows], name)


def begin(cases: Iterable[str]) -> tuple[list[str], Path]:
    """Cases to run and the folder of the tables, by the command line, once the conditions are seen to hold."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("case", nargs="*", metavar="CASE", help=f"one of {', '.join(cases)}; default: all")
    parser.add_argument("--smoke", action="store_true", help="tiny, on a machine as it is; needs --out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the tables")
    arguments = parser.parse_args()
    if unknown := set(arguments.case) - {*cases}:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    if arguments.smoke and arguments.out == RESULTS:
        parser.error("figures of a smoke run are no results: give --out")
    if not arguments.smoke and (failed := failed_condition()):
        refuse(failed)
    return arguments.case or [*cases], arguments.out


def measured(name: str, case: Callable[[], Iterable[dict]]) -> list[dict]:
    """Rows of one case; none, with a line that says why, where a smoke run lacks a peer or data."""
    started, own, busy = time.perf_counter(), cpu_s(), busy_s()
    try:
        rows = list(case())
    except Missing as error:
        if not SMOKE:
            refuse(str(error))
        print(f"{name}: skipped: {error}", flush=True)
        return []
    others = (busy_s() - busy - cpu_s() + own) / (time.perf_counter() - started)
    if not SMOKE and others > MAX_LOAD:
        refuse(f"other work used {others:.2f} cores during '{name}' (at most {MAX_LOAD}): wait until it has ended")
    for entry in rows:
        print(f"{name}: { ({key: value for key, value in entry.items() if value not in (None, '')}) }", flush=True)
    return rows


def failed_condition() -> str | None:
    """The first condition of a fair measurement that does not hold, with what to do; None if all hold."""
    if sys.dont_write_bytecode:
        return "PYTHONDONTWRITEBYTECODE is set, so each process compiles its modules again: unset it"
    if not compileall.compile_dir(ROOT / "src" / "evenclip", quiet=2):
        return "the bytecode of src/evenclip cannot be written: make the folder writable"
    if not os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return "the number of threads is not set: OMP_NUM_THREADS=1"
    status = ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"]
    if subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout:
        return "the working tree has changes, so that no commit states the code: commit them"
    started, own, busy = time.perf_counter(), cpu_s(), busy_s()
    time.sleep(1)
    others = (busy_s() - busy - cpu_s() + own) / (time.perf_counter() - started)
    if others > MAX_LOAD:
        return f"other work uses {others:.2f} cores (at most {MAX_LOAD}): wait until it has ended"
    return None


def busy_s() -> float:
    """Processor seconds of everything on this machine so far."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, irq, softirq, *_ = fields
    return (user + nice + system + irq + softirq) / TICKS


def refuse(reason: str) -> None:
    """End with status 2 and one line."""
    print(f"no table is written: {reason}", file=sys.stderr)
    raise SystemExit(2)


def row(
    case: str, unit: str, ours: float | Sequence[float], peer: float | Sequence[float] | None = None,
    peer_name: str = "", target: float | None = None, n_runs: int | None = None,
    smaller: bool = False, rate: bool = False, threads: int | None = None,
) -> dict:  # fmt: skip
    """One row; several values of either side, paired by run, become medians with their quartiles.

    ``ratio`` is peer / ours, a speed-up, and meets ``target`` from there on. Where more is better (``rate``) it is ours
    / peer; where a cost is bounded (``smaller``) too, and meets ``target`` up to there. Without a peer, ours is judged.
    ``threads``: those of both sides where they are not OMP_NUM_THREADS.
    """
    first = np.atleast_1d(np.asarray(ours, float))
    second = None if peer is None else np.atleast_1d(np.asarray(peer, float))
    ratio = None if second is None else first / second if smaller or rate else second / first
    judged = float(np.median(first if ratio is None else ratio))
    met = None if target is None else bool(judged <= target if smaller else judged >= target)
    entry = {"case": case, "unit": unit, "peer_name": peer_name, "target": target, "met": met}
    for name, values in (("ours", first), ("peer", second), ("ratio", ratio)):
        if values is not None:
            entry[name] = float(np.median(values))
            if len(values) > 1:
                entry[f"{name}_low"], entry[f"{name}_high"] = map(float, np.quantile(values, [0.25, 0.75]))
    entry |= {"n_runs": n_runs or len(first)} | provenance()
    entry["threads"] = threads or entry["threads"]
    return {name: entry.get(name) for name in COLUMNS}


def provenance() -> dict[str, str]:
    """Threads, date, commit and machine of a measurement."""
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {"threads": threads, "date": time.strftime("%Y-%m-%d"), "commit": commit, "machine": machine}


def write_rows(path: Path, rows: Sequence[dict], name: str | None = None) -> None:
    """Write a table, or in place of the rows of the case ``name``; rows of before a column existed leave it empty."""
    kept = []
    if name and path.exists():
        with open(path, encoding="utf-8", newline="") as file:
            kept = [entry for entry in csv.DictReader(file) if not entry["case"].startswith(f"{name}:")]
    entries = [{key: f"{value:.4g}" if isinstance(value, float) else value for key, value in entry.items()}
               for entry in [*kept, *rows]]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)  # an error for columns that the table no longer has, before the table is touched
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
