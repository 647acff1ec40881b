"""Audit a labels table, before and after weighting: data RB and AB with bootstrap intervals, pair by pair.

`evenclip audit LABELS.parquet [--weights WEIGHTS.parquet] [--json] [--figures DIR]`. Rows are resampled
with replacement; as rows of a cell with one weight are alike, that is a multinomial draw of the cells' counts, at
O(cells) a draw.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from evenclip.balance.calibration import read_calibration
from evenclip.balance.kept import kept_shares, warnings_of
from evenclip.balance.label_noise import CorrectedMeasure
from evenclip.balance.moments import label_matrix
from evenclip.balance.options import BalanceOptions
from evenclip.balance.problem import contrasts_of
from evenclip.balance.report import number
from evenclip.balance.table.cells import Cells, count_cells
from evenclip.balance.table.coding import CodedRows
from evenclip.balance.table.source import Source, as_table
from evenclip.bias import Bias, Contrast, bias_of_masses, largest
from evenclip.errors import InputError
from evenclip.label_columns import LabelColumn
from evenclip.tables import check_weights, read_table

N_BOOTSTRAP = 1000
MIN_GROUP = 30  # rows a group needs on both sides of a contrast before its bias is called measured
_BLOCK = 64  # bootstrap draws held at once


def audit(
    labels: Any,
    weights: Any = None,
    options: BalanceOptions | None = None,
    *,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
    min_group: int = MIN_GROUP,
    calibration: Any = None,
) -> dict[str, Any]:
    """Data RB and AB (paper: M4, section 2) as the data came, under ``weight``, and with rows shown ``copies`` times.

    Parameters
    ----------
    labels : path or table
        labels.parquet, or its content; see `Source`.
    weights : path or table, optional
        weights.parquet, or its content: `key`, `weight` >= 0 and optionally `copies`; one row per row of ``labels``,
        in any order.
    options : BalanceOptions, optional
        Only `target` and `attribute_coding` are used.
    seed, n_bootstrap
        Of the 95 % percentile intervals.
    min_group : int
        Pairs with fewer rows inside or outside the group are marked `insufficient` and left out of the maxima.
    calibration : path or table, optional
        Annotated rows that a classifier labelled too, with `attribute`, `truth` and `perceived`; see
        `evenclip.balance.calibration`. RB and AB of these attributes are then given corrected for its errors as well.

    Returns
    -------
    dict
        JSON-able: `rb`, `ab` ({stage: {value, ci_low, ci_high}}), `crossings` (AB by the sides that group and label
        were read from, e.g. `image-text`), `ess`, `design_effect`, `retained_share`, `groups`, `associations` (one
        entry per group and label, with standardised mean differences), `kept` (what is left of each label, group and
        pair, worst first), `corrected` (RB, AB, groups and associations corrected for label noise, with intervals that
        cover the sampling of the calibration set, and its quality by attribute; None without one) and `warnings`.
    """
    options = options or BalanceOptions()
    source = Source(labels)
    with CodedRows() as rows:
        cells = count_cells(source, 1, rows)
        owner, count, stages = _weighted_cells(source, rows, weights, cells)
    contrasts = contrasts_of(cells, options.attribute_coding, options.target)
    measure = _Measure(cells, contrasts, owner, min_group)
    confusions = [] if calibration is None else read_calibration(calibration)
    corrected = [CorrectedMeasure(c, cells, contrasts, owner, count, measure.enough) for c in confusions]
    rng = np.random.default_rng(seed)
    (calibration_rng,) = rng.spawn(1)
    draws = {name: [] for name in stages}
    corrected_draws = {name: [] for name in stages}
    for start in range(0, n_bootstrap, _BLOCK):
        size = min(_BLOCK, n_bootstrap - start)
        resampled = rng.multinomial(cells.n, count / cells.n, size=size).astype(float)
        for name, weight in stages.items():
            draws[name].append(measure(resampled * weight))
        if corrected:
            drawn = [m(resampled, stages, m.confusion.draw(calibration_rng, size)) for m in corrected]
            for name in stages:
                corrected_draws[name].append(_merged([by_stage[name] for by_stage in drawn]))
    points = {name: measure((count * weight)[None, :]) for name, weight in stages.items()}
    intervals = {name: measure.interval(points[name], parts) for name, parts in draws.items()}
    sizes = {"n": cells.n, "n_cells": len(cells), "n_bootstrap": n_bootstrap, "min_group": min_group}
    result = sizes | _spread(count, stages) | _summary(measure, points, intervals) | {"corrected": None}
    if corrected:
        by_attribute = [measured.point(stages) for measured in corrected]
        points = {name: _merged([by_stage[name] for by_stage in by_attribute]) for name in stages}
        intervals = {name: measure.interval(points[name], parts) for name, parts in corrected_draws.items()}
        result["corrected"] = _corrected(measure, corrected, points, intervals)
    return result | _kept(measure, count, stages)


class _Measure:
    """Measures shares and associations of weighted cells by one sparse product."""

    def __init__(self, cells: Cells, contrasts: list[Contrast], owner: np.ndarray, min_group: int):
        self.contrasts = contrasts
        self.label_names = [LabelColumn.parse(column).short_name for column in cells.columns.target]
        labels = sparse.hstack([np.ones((len(cells), 1)), label_matrix(cells, cells.columns.target)], format="csr")
        self.owner, self.labels = owner, labels[owner][:, 1:]
        masks = [mask for contrast in contrasts for mask in (contrast.inside, contrast.outside)]
        features = sparse.hstack([labels.multiply(mask[:, None]) for mask in masks], format="csr")
        self._features = features[owner].T.tocsr()
        self._shape = (len(masks), labels.shape[1])
        counts = (features.T @ cells.count).reshape(self._shape)
        self.n_inside, self.n_outside = counts[0::2].astype(int), counts[1::2].astype(int)
        self.enough = (self.n_inside[:, 0] >= min_group) & (self.n_outside[:, 0] >= min_group)
        self._target = np.array([contrast.target for contrast in contrasts])
        self.crossings = _crossings([c.name for c in contrasts], self.label_names)

    def __call__(self, weight: np.ndarray) -> Bias:
        """Bias of each draw; ``weight`` has shape (draws, cells with a weight)."""
        mass = (self._features @ weight.T).T.reshape(len(weight), *self._shape)
        return bias_of_masses(mass[:, 0::2], mass[:, 1::2], self._target, self.enough)

    def interval(self, point: Bias, draws: list[Bias]) -> dict[str, np.ndarray | None]:
        """95 % percentile interval of each field, shape (2, ...); draws that lost a group are left out.

        That of a maximum is the interval of the group or pair that attains it: maxima of resampled data are biased.
        """
        if not draws:
            return dict.fromkeys(("share", "association", "rb", "ab", *self.crossings))

        def joined(field: str) -> np.ndarray:
            return np.concatenate([getattr(draw, field) for draw in draws])

        intervals = {field: _quantiles(joined(field)) for field in ("share", "association")}
        maxima = {"rb": ("deviation", True), "ab": ("strength", True)}
        maxima |= {name: ("strength", chosen) for name, chosen in self.crossings.items()}
        for maximum, (field, chosen) in maxima.items():
            candidates = np.where(chosen, getattr(point, field)[0], np.nan).ravel()
            leader = int(np.argmax(np.where(np.isfinite(candidates), candidates, -1)))
            drawn = joined(field)
            intervals[maximum] = _quantiles(drawn.reshape(len(drawn), -1)[:, leader])
        return intervals


def _crossings(groups: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Masks of the pairs of each crossing of sides, (K, R) bool: `image-text` = groups of images, labels of texts.

    Empty where no column names a side. Columns that name none are taken to be of the text.
    """
    sides = [["image" if name.startswith("image.") else "text" for name in names] for names in (groups, labels)]
    if not any(name.startswith(("image.", "text.")) for name in (*groups, *labels)):
        return {}
    crossed = {f"{a}-{b}": np.outer(np.array(sides[0]) == a, np.array(sides[1]) == b) for a, b in _SIDES}
    return {name: chosen for name, chosen in crossed.items() if chosen.any()}


_SIDES = [(group, label) for group in ("text", "image") for label in ("text", "image")]


def _weighted_cells(
    source: Source, rows: CodedRows, weights: Any, cells: Cells
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Cells split by weight: the cell, the number of rows, and for each stage the weight of each."""
    if weights is None:
        return np.arange(len(cells)), cells.count, {"before": np.ones(len(cells))}
    where = _name(weights)
    given = read_table(weights) if isinstance(weights, str | os.PathLike) else as_table(weights)
    given = check_weights(given, where)
    keys = given.column("key").combine_chunks()
    parts, used = [], np.zeros(len(keys), bool)
    names = [name for name in ("weight", "copies") if name in given.column_names]
    n_rows = 0
    source.require_key()
    for batch, coded in zip(source.batches(["key"]), rows, strict=True):
        key = batch.column("key").cast(pa.string())
        row = pc.index_in(key, value_set=keys)
        if row.null_count:
            missing = key.filter(pc.is_null(row))[0].as_py()
            raise InputError(f"the key '{missing}' of {source.name} has no weight", where, "weigh the same table")
        used[row.to_numpy()] = True
        n_rows += len(batch)
        cell = cells.find(coded.codes)[coded.index]
        columns = {name: given.column(name).take(row) for name in names}
        parts.append(_count_rows(pa.table({"cell": cell} | columns), names))
    if not used.all():
        what = f"the key '{keys[int(np.argmin(used))]}' is not in {source.name} ({len(keys)} weights for {n_rows} rows)"
        raise InputError(what, where, "weigh the same table")
    if n_rows != len(keys):
        raise InputError("a key occurs more than once", f"{source.name}, column key", "make keys unique")
    merged = pa.concat_tables(parts).group_by(["cell", *names]).aggregate([("rows", "sum")])
    merged = merged.sort_by([(name, "ascending") for name in ("cell", *names)])  # threads group in any order
    stages = {"before": np.ones(len(merged))}
    stages |= {stage: merged.column(name).to_numpy().astype(float) for stage, name in _STAGES.items() if name in names}
    return merged.column("cell").to_numpy(), merged.column("rows_sum").to_numpy(), stages


_STAGES = {"after": "weight", "realised": "copies"}


def _count_rows(table: pa.Table, names: list[str]) -> pa.Table:
    counted = table.append_column("rows", pa.array(np.ones(len(table), np.int64)))
    return counted.group_by(["cell", *names]).aggregate([("rows", "sum")]).rename_columns({"rows_sum": "rows"})


def _name(weights: Any) -> str:
    return str(weights) if isinstance(weights, str | os.PathLike) else "the weights"


def _spread(count: np.ndarray, stages: dict[str, np.ndarray]) -> dict[str, float]:
    """Kish's effective sample size and design effect of the weights, and the share of rows with any weight."""
    weight = stages.get("after", stages["before"])
    ess = float((count @ weight) ** 2 / (count @ weight**2))
    n = int(count.sum())
    return {"ess": ess, "design_effect": n / ess, "retained_share": float(count[weight > 0].sum() / n)}


def _estimate(
    points: dict[str, Bias], intervals: dict[str, dict], stage: str, field: str, *index: int
) -> dict[str, float | None]:
    """A value with its interval; None where it cannot be measured, or where nothing was drawn."""
    return {"value": number(getattr(points[stage], field)[(0, *index)])} | _bounds(intervals[stage][field], *index)


def _bounds(interval: np.ndarray | None, *index: int) -> dict[str, float | None]:
    low, high = (number(interval[(side, *index)]) if interval is not None else None for side in (0, 1))
    return {"ci_low": low, "ci_high": high}


def _merged(parts: Sequence[Bias]) -> Bias:
    """Bias of contrasts that were measured one attribute at a time: each part is undefined outside its attribute."""
    share, association = parts[0].share, parts[0].association
    for part in parts[1:]:
        share = np.where(part.counted, part.share, share)
        association = np.where(part.counted[:, None], part.association, association)
    return Bias(share, association, parts[0].target, np.logical_or.reduce([part.counted for part in parts]))


def _corrected(
    measure: _Measure, corrected: Sequence[CorrectedMeasure], points: dict[str, Bias], intervals: dict[str, dict]
) -> dict[str, Any]:
    """RB, AB, groups and associations of the calibrated attributes, and the quality of the calibration."""
    chosen = np.flatnonzero(np.logical_or.reduce([part.counted for part in corrected]))
    names = [contrast.name for contrast in measure.contrasts]
    maxima = {name: {stage: _estimate(points, intervals, stage, name) for stage in points} for name in ("rb", "ab")}
    groups = [
        {"group": names[k]} | {stage: _estimate(points, intervals, stage, "share", k) for stage in points}
        for k in chosen
    ]
    associations = [
        {"group": names[k], "label": label}
        | {stage: _estimate(points, intervals, stage, "association", k, r) for stage in points}
        for k in chosen
        for r, label in enumerate(measure.label_names)
    ]
    attributes = [part.describe() for part in corrected]
    return maxima | {"attributes": attributes, "groups": groups, "associations": associations}


def _summary(measure: _Measure, points: dict[str, Bias], intervals: dict[str, dict]) -> dict[str, Any]:
    def estimate(stage: str, field: str, *index: int) -> dict[str, float | None]:
        return _estimate(points, intervals, stage, field, *index)

    def status(k: int) -> str:
        return "ok" if measure.enough[k] else "insufficient"

    difference = {stage: _standardised(measure, points["before"], point) for stage, point in points.items()}
    groups = [
        {"group": c.name, "coding": c.coding, "target": c.target, "status": status(k),
         "n_inside": int(measure.n_inside[k, 0]), "n_outside": int(measure.n_outside[k, 0])}
        | {stage: estimate(stage, "share", k) for stage in points}
        for k, c in enumerate(measure.contrasts)
    ]  # fmt: skip
    associations = [
        {"group": c.name, "label": label, "status": status(k), "n_inside_with_label": int(measure.n_inside[k, r + 1]),
         "n_outside_with_label": int(measure.n_outside[k, r + 1])}
        | {stage: estimate(stage, "association", k, r) | {"smd": number(difference[stage][k, r])} for stage in points}
        for k, c in enumerate(measure.contrasts)
        for r, label in enumerate(measure.label_names)
    ]  # fmt: skip
    maxima = {name: {stage: estimate(stage, name) for stage in points} for name in ("rb", "ab")}
    crossings = {}
    for name, chosen in measure.crossings.items():
        crossings[name] = {
            stage: {"value": number(largest(np.where(chosen, point.strength[0], np.nan).ravel()))}
            | _bounds(intervals[stage][name])
            for stage, point in points.items()
        }
    return maxima | {"crossings": crossings, "groups": groups, "associations": associations}


def _kept(measure: _Measure, count: np.ndarray, stages: dict[str, np.ndarray]) -> dict[str, Any]:
    """What is left of each label, group and pair, and warnings."""
    contrasts = [contrast.at(measure.owner) for contrast in measure.contrasts]
    masses = {stage: count * weight for stage, weight in stages.items()}
    squares = count * stages.get("after", stages["before"]) ** 2
    kept = kept_shares(contrasts, measure.label_names, measure.labels, count, masses, squares)
    most_copies = float(stages["realised"].max()) if "realised" in stages else None
    retention = float(masses["after"].sum() / count.sum()) if "after" in stages else None
    return {"kept": kept, "warnings": warnings_of(kept, retention, most_copies)}


def _standardised(measure: _Measure, before: Bias, point: Bias) -> np.ndarray:
    """Standardised mean differences: the association over the label's standard deviation in the data as it came."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [n[:, 1:] / n[:, :1] for n in (measure.n_inside, measure.n_outside)]
        deviation = np.sqrt(sum(rate * (1 - rate) for rate in rates) / 2)
        return point.association[0] / deviation


def _quantiles(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    filled = np.where(finite.any(0), values, 0.0)  # nanquantile warns about columns without a number
    result = np.nanquantile(filled, [0.025, 0.975], axis=0)
    return np.where(finite.any(0), result, np.nan)
