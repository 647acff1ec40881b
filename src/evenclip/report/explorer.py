"""Interactive figure of the page: any metric against any other, drawn by Plotly on demand.

The page contains the compressed library (4.8 MB) once, so that it works offline and opens quickly: the browser unpacks
it on the first click. The rest of the page needs no scripts.
"""

import base64
import gzip
import json
import math
from importlib import resources
from typing import Any

from evenclip.report.drawing import COLORS
from evenclip.report.words import interval, metric
from evenclip.results import Estimate, StudyResults

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")  # as `drawing.MARKERS`
NOT_OF_THE_MODEL = ("data", "train")  # families of metrics


def plotly_library() -> str:
    """plotly.min.js of the installed package, compressed with gzip, as base64."""
    script = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, mtime=0)).decode()


def explorer_data(study: StudyResults, x: str, y: str) -> str | None:
    """Data of the figure as JSON: mean, interval and seeds for every metric and run.

    ``x`` and ``y`` are the metrics shown initially. None with fewer than two metrics.
    """
    table = study.summary
    of_the_model = ~table["metric"].str.partition("/")[0].isin(NOT_OF_THE_MODEL)
    is_listed = (table["group"] == "") & table["mean"].notna() & of_the_model
    names = list(dict.fromkeys(table["metric"][is_listed]))
    if len(names) < 2:
        return None
    seeds = {
        (run.name, row["metric"], seed): row["value"]
        for run in study.runs
        for seed in run.seeds
        for row in study.metrics(run.name, seed)
        if not row["group"]
    }
    metrics = {
        name: {run.name: _values(study, run.name, run.seeds, name, seeds) for run in study.runs} for name in names
    }
    runs = [
        {"name": run.name, "title": study.run_title(run.name), "options": _options(run.strategy, run.options),
         "color": COLORS[i % len(COLORS)], "symbol": SYMBOLS[(i + i // len(COLORS)) % len(SYMBOLS)]}
        for i, run in enumerate(study.runs)
    ]  # fmt: skip
    content = {"runs": runs, "metrics": metrics, "names": {name: metric(study, name) for name in names}, "x": x, "y": y}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _values(
    study: StudyResults, run: str, run_seeds: tuple[int, ...], path: str, seeds: dict[Any, float | None]
) -> dict[str, Any] | None:
    estimate = study.estimate(run, path)
    if estimate is None:
        return None
    values = [seeds.get((run, path, seed)) for seed in run_seeds]
    return {"mean": estimate.mean, "arms": _arms(estimate), "text": interval(estimate), "seeds": values}


def _arms(estimate: Estimate) -> list[float] | None:
    arms = [estimate.ci_high - estimate.mean, estimate.mean - estimate.ci_low]
    return arms if all(map(math.isfinite, arms)) else None


def _options(strategy: str, options: dict[str, Any]) -> str:
    active = [
        f"{name.removeprefix('train.')} {json.dumps(value)}" for name, value in options.items() if value is not None
    ]
    return "<br>".join([f"strategy {strategy}", *active])
