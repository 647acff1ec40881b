"""How many seeds each claim needs for a verdict, and how long they take on this machine.

From the pilot seeds of a study, whose claims need not be decided: `results/<study>/{claims.json,seeds.csv}`, and the
times that Snakemake recorded in `benchmark/`. Command: `evenclip plan`.
"""

import csv
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenclip import documents
from evenclip.errors import InputError
from evenclip.stage_outputs import read_document
from evenclip.summarize.inference import LEVEL, Contrast
from evenclip.summarize.options import OWN_VARIANCE

MOST_SEEDS = 500
STAGES = ("train", "embed", "evaluate", "vqa", "links")
Values = dict[tuple[str, str], dict[str, float]]  # (run, metric) -> seed -> value


@dataclass(frozen=True)
class Need:
    """What one test of a claim needs.

    ``effect`` and ``sd`` are of the pilot seeds: the distance from the nearest border of a verdict, and the standard
    deviation of the paired differences. ``seeds`` is None where more than `MOST_SEEDS` are needed, or no spread is
    known.
    """

    claim: str
    primary: bool
    metric: str
    run: str
    reference: str
    pilot_seeds: int
    effect: float
    sd: float
    verdict: str
    seeds: int | None
    hours: float | None


def plan_seeds(results: Path) -> list[Need]:
    """Needs of all claims that the study has runs and metrics for, at 80 % power; primaries first.

    Primary claims are planned at Holm's strictest level, exploratory ones at 0.05.

    Raises
    ------
    InputError
        The study has no summary yet.
    """
    entries = [entry for entry in read_document(results / "claims.json", documents.Claims) if entry["runs"]]
    values = _read_values(results / "seeds.csv")
    seconds = seconds_per_seed(results, {run: len(of_seeds) for (run, _), of_seeds in values.items()})
    n_primary = max(len({entry["id"] for entry in entries if entry["primary"]}), 1)
    needs = []
    for entry in sorted(entries, key=lambda entry: not entry["primary"]):
        if entry["against"] or (differences := _differences(entry, values)) is None:
            continue
        level = LEVEL / n_primary if entry["primary"] else LEVEL
        sd = statistics.stdev(differences) if len(differences) > 1 else math.nan
        verdict, distance = _nearest_verdict(entry, statistics.mean(differences))
        seeds = seeds_needed(distance, sd, level)
        names = entry["runs"]["run"], entry["runs"]["reference"]
        pair = [run for run in names if run in seconds]
        more = None if seeds is None else max(seeds - len(differences), 0)
        hours = more * sum(seconds[run] for run in pair) / 3600 if pair and more is not None else None
        needs.append(Need(
            entry["id"], entry["primary"], entry["metric"], *names, len(differences), distance, sd,
            verdict, seeds, hours,
        ))  # fmt: skip
    return needs


def seeds_needed(distance: float, sd: float, level: float) -> int | None:
    """Fewest seeds, 8 at least, whose two-sided paired t test at ``level`` finds ``distance`` with 80 % power."""
    if not (math.isfinite(sd) and sd > 0 and distance > 0):
        return None
    low, high = OWN_VARIANCE, MOST_SEEDS
    if not _finds(high, distance, sd, level):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _finds(middle, distance, sd, level) else (middle + 1, high)
    return low


def seconds_per_seed(results: Path, n_seeds: Mapping[str, int]) -> dict[str, float]:
    """Recorded seconds of one seed of each run: training, embedding and measuring.

    A job of one seed is named `<run>_seed<k>...`, a job of all seeds (`seeds_per_job: all`) `<run>`: its time is that
    of all ``n_seeds`` of the run.
    """
    seconds: dict[str, float] = defaultdict(float)
    for stage in STAGES:
        for path in sorted((results / "benchmark" / stage).glob("**/*.tsv")):
            stem = path.relative_to(results / "benchmark" / stage).with_suffix("").as_posix()
            of_one_seed = re.match(r"([a-z]\w*?)_seed\d+", stem)
            run = of_one_seed[1] if of_one_seed else stem
            if run in n_seeds:
                with open(path, encoding="utf-8", newline="") as file:
                    recorded = sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
                seconds[run] += recorded / n_seeds[run]
    return dict(seconds)


def as_table(needs: list[Need]) -> str:
    """The needs as tab-separated text for people."""
    lines = ["claim\tmetric\tdifference\tpilot seeds\tlikely verdict\tseeds needed\tmore hours"]
    for need in needs:
        seeds = need.seeds or ("no spread known" if not need.sd > 0 else f"more than {MOST_SEEDS}")
        hours = "" if need.hours is None else f"{need.hours:.2f}"
        pair = f"{need.run} - {need.reference}"
        name = f"{need.claim}{' (primary)' if need.primary else ''}"
        lines.append(f"{name}\t{need.metric}\t{pair}\t{need.pilot_seeds}\t{need.verdict}\t{seeds}\t{hours}")
    return "\n".join(lines)


def _finds(n_seeds: int, distance: float, sd: float, level: float) -> bool:
    return Contrast(0.0, sd / math.sqrt(n_seeds), n_seeds - 1).detectable(level) <= distance


def _nearest_verdict(entry: dict[str, Any], d: float) -> tuple[str, float]:
    """Verdict that the pilot points to, and how far its difference lies beyond the border."""
    margin, sign = entry["margin"], -1 if entry["kind"] in ("lower", "not_higher") else 1
    if entry["kind"] == "equivalent":
        inside = margin - abs(d)
        return ("supported", inside) if inside > 0 else ("refuted", -inside)
    border = -margin if entry["kind"].startswith("not_") else margin
    beyond = sign * d - border
    verdicts = [("supported", beyond), ("refuted", -beyond)]
    if entry["equivalence"]:
        verdicts.append(("equivalent", entry["equivalence"] - abs(d)))
    return max(verdicts, key=lambda verdict: verdict[1])


def _differences(entry: dict[str, Any], values: Values) -> list[float] | None:
    """Differences by seed, of the seeds that both runs have; a mean over its floor has the run's own spread."""
    run, reference = (values.get((entry["runs"][role], entry["metric"]), {}) for role in ("run", "reference"))
    if entry["kind"] == "above_floor":
        shift = entry["estimate"] - statistics.mean(run.values()) if run else 0.0
        return [value + shift for value in run.values()] or None
    return [run[seed] - reference[seed] for seed in run.keys() & reference.keys()] or None


def _read_values(path: Path) -> Values:
    values: Values = defaultdict(dict)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["value"] and not row["group"]:
                    values[row["run"], row["metric"]][row["seed"]] = float(row["value"])
    except (OSError, ValueError, KeyError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else "not a seeds.csv"
        raise InputError(what, str(path), "run the study with some seeds first, at least two") from None
    return values
