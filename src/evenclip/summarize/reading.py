"""What the stages before left in `results/<study>/`, read for the named runs and seeds only."""

import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Any

from evenclip.errors import InputError
from evenclip.tables import MetricRow, read_table

LINKS = "links"  # the one set that not all runs have
# one run at one seed: (metric, group) -> row
Measured = dict[tuple[str, str], MetricRow]


def read_sets(results: Path, runs: list[str], seeds: list[int]) -> list[str]:
    """Names of the evaluation sets, which all runs and seeds must share: a mean over other sets compares nothing.

    `LINKS` is not among them.
    """
    found = {}
    for run, seed in itertools.product(runs, seeds):
        folder = results / "evaluate" / run / f"seed{seed}"
        found[folder] = {path.stem for path in folder.glob("*.json")} - {LINKS}
    every = set().union(*found.values())
    for folder, names in found.items():
        missing = sorted(every - names) or ([] if names else ["<set>"])
        if missing:
            raise InputError("no such file", str(folder / f"{missing[0]}.json"), "run `evenclip evaluate` for it")
    return sorted(every)


def read_measured(results: Path, run: str, seed: int, sets: list[str]) -> Measured:
    """All metrics of one training: those of the evaluation sets, and the ends of its curves as `train/...`."""
    found: Measured = {}
    for name in sets:
        path = results / "evaluate" / run / f"seed{seed}" / f"{name}.json"
        try:
            rows = [MetricRow(**row) for row in read_json(path)["metrics"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"not a file of metrics ({error})", str(path), "run `evenclip evaluate` again") from None
        for row in rows:
            if (row.metric, row.group) in found:
                what = f"{row.metric} {row.group}".strip()
                raise InputError(
                    f"{what} was measured before", str(path), "give each set and each task its own metrics"
                )
            found[row.metric, row.group] = row
    path = results / "train" / run / f"seed{seed}" / "history.parquet"
    history = read_table(path, ["step", "samples_seen", "loss", "samples_per_second"]).sort_by("step").to_pydict()
    if not history["step"]:
        raise InputError("the history has no rows", str(path), "run `evenclip train` again")
    speeds = [speed for speed in history["samples_per_second"] if speed is not None and math.isfinite(speed)]
    curve = {
        "train/loss": history["loss"][-1],
        "train/samples_per_second": statistics.median(speeds) if speeds else None,
    }
    last = read_table(path).sort_by("step").to_pylist()[-1]
    curve |= {f"train/{name}": last[name] for name in ("realised_rb", "realised_ab") if name in last}
    for metric, value in curve.items():
        finite = value if value is not None and math.isfinite(value) else None
        found[metric, ""] = MetricRow(metric, finite, None, None, int(history["samples_seen"][-1]))
    return found


def read_training(results: Path, run: str, seeds: list[int]) -> dict[str, Any]:
    """Strategy and options of a run, equal in all its seeds."""
    found = []
    for seed in seeds:
        path = results / "train" / run / f"seed{seed}" / "manifest.json"
        manifest = read_json(path)
        if not isinstance(manifest.get("strategy"), str) or not isinstance(manifest.get("options"), dict):
            raise InputError("the manifest lacks strategy or options", str(path), "run `evenclip train` again")
        found.append({"strategy": manifest["strategy"], "options": manifest["options"]})
        if found[-1] != found[0]:
            raise InputError(f"differs from seed {seeds[0]} in strategy or options", str(path), "train all seeds alike")
    return found[0]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `InputError` where there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", str(path), "run the stage that writes it") from None
    except ValueError as error:
        raise InputError(f"not readable JSON ({error})", str(path), "run the stage that writes it again") from None
    if not isinstance(document, dict):
        raise InputError("not a JSON object", str(path), "run the stage that writes it again")
    return document
