"""The page's interactive figure: any metric against any other, drawn by Plotly when the reader asks for it.

The library (4.8 MB) is in the page once, compressed, so that the page works offline and opens fast: the browser unpacks
it on the first click. Everything else on the page works without it, and without scripts.
"""

import base64
import gzip
import json
import math
from importlib import resources
from typing import Any

from evenclip.report.drawing import COLORS
from evenclip.report.words import interval
from evenclip.results import Estimate, StudyResults

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")  # as `drawing.MARKERS`
NOT_OF_THE_MODEL = ("data", "train")  # families of metrics


def plotly_library() -> str:
    """plotly.min.js of the installed package, gzip, base64."""
    script = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, mtime=0)).decode()


def explorer_data(study: StudyResults, x: str, y: str) -> str | None:
    """What the figure shows, as JSON: for every metric and run the mean with its interval, and the seeds.

    ``x`` and ``y`` are the metrics shown first. None where there are fewer than two metrics to choose from.
    """
    table = study.summary
    of_the_model = ~table["metric"].str.partition("/")[0].isin(NOT_OF_THE_MODEL)
    shown = (table["group"] == "") & table["mean"].notna() & of_the_model
    names = list(dict.fromkeys(table["metric"][shown]))
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
        {"name": run.name, "options": _options(run.strategy, run.options), "color": COLORS[i % len(COLORS)],
         "symbol": SYMBOLS[(i + i // len(COLORS)) % len(SYMBOLS)]}
        for i, run in enumerate(study.runs)
    ]  # fmt: skip
    content = {"runs": runs, "metrics": metrics, "x": x, "y": y}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _values(
    study: StudyResults, run: str, run_seeds: tuple[int, ...], metric: str, seeds: dict[Any, float | None]
) -> dict[str, Any] | None:
    estimate = study.estimate(run, metric)
    if estimate is None:
        return None
    values = [seeds.get((run, metric, seed)) for seed in run_seeds]
    return {"mean": estimate.mean, "arms": _arms(estimate), "text": interval(estimate), "seeds": values}


def _arms(estimate: Estimate) -> list[float] | None:
    arms = [estimate.ci_high - estimate.mean, estimate.mean - estimate.ci_low]
    return arms if all(map(math.isfinite, arms)) else None


def _options(strategy: str, options: dict[str, Any]) -> str:
    on = [f"{name.removeprefix('train.')} {json.dumps(value)}" for name, value in options.items() if value is not None]
    return "<br>".join([f"strategy {strategy}", *on])
