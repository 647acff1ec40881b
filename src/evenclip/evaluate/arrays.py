"""Evaluation of embeddings in memory, overall and by group: `evenclip.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet, PromptClasses
from evenclip.evaluate.measurement import EvaluateOptions
from evenclip.evaluate.metrics.fairness import Fairness
from evenclip.evaluate.metrics.zeroshot import ZeroShot
from evenclip.tables import MetricRow

_SET, _STEM = "arrays", "texts"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one set, in the manner of fairlearn's MetricFrame.

    Attributes
    ----------
    overall : pandas.Series
        Metrics of the whole set by name: those of the tasks `zeroshot` (acc1, acc5, ...) and, with groups, `fairness`
        (worst_group_accuracy, equal_opportunity_difference, ...); docs/evaluate.md defines them.
    by_group : pandas.DataFrame
        Those of `zeroshot` for each group, which is the index, and n; NaN for a group with too few images.
    intervals : pandas.DataFrame
        Columns ci_low, ci_high (95 %), n (number of examples) and random (score of chance) for each metric of
        ``overall``.
    """

    overall: pd.Series
    by_group: pd.DataFrame
    intervals: pd.DataFrame

    def difference(self) -> pd.Series:
        """Largest minus smallest value over the groups, for each metric of ``by_group``."""
        metrics = self.by_group.drop(columns="n", errors="ignore")
        return metrics.max() - metrics.min()

    def ratio(self) -> pd.Series:
        """Smallest divided by largest value over the groups, for each metric of ``by_group``."""
        metrics = self.by_group.drop(columns="n", errors="ignore")
        return metrics.min() / metrics.max()


def evaluate(
    images: Any,
    texts: Any,
    *,
    labels: Sequence[Any],
    groups: Sequence[Any] | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Measure zero-shot classification by embeddings, overall and by group.

    Parameters
    ----------
    images : array or tensor, shape (n, d)
        Embeddings of the images; they need not be normalised.
    texts : array or tensor, shape (n_classes, d) or (n_templates, n_classes, d)
        Embeddings of a prompt of each class, or of several prompts.
    labels : sequence, shape (n,)
        True class of each image: its place in ``texts``, or its name with ``classes``.
    groups : sequence, shape (n,), optional
        Perceived group of each image; None, NaN and '' = not known.
    classes : sequence of str, shape (n_classes,), optional
    seed : int
        Of the bootstrap.
    **options
        Fields of `EvaluateOptions`: ``resamples``, ``minimum_group``.

    Raises
    ------
    InputError
        Shapes do not agree, a value is not finite, a vector is zero, or a label is no class.
    """
    image, templates = _vectors(images, "images", (2,)), _vectors(texts, "texts", (2, 3))
    templates = templates if templates.ndim == 3 else templates[None]
    if image.shape[1] != templates.shape[2]:
        what = f"images have {image.shape[1]} dimensions, texts {templates.shape[2]}"
        raise InputError(what, "images, texts", "embed both with one model")
    names = tuple(map(str, range(templates.shape[1]) if classes is None else classes))
    if len(names) != templates.shape[1]:
        raise InputError(f"{len(names)} classes for {templates.shape[1]} texts", "classes", "name each text")
    mean = _vectors(templates.mean(axis=0), "mean of the templates", (2,))
    truth = {"label": _names(labels, len(image), "labels")}
    if groups is not None:
        truth["group"] = _names(groups, len(image), "groups")
    prompts = {_STEM: PromptClasses(names, mean, templates)}
    data = EmbeddedSet(_SET, "the arrays", image, None, None, None, prompts, 1.0, truth, 0)
    chosen = EvaluateOptions.parse(options, "evaluate")
    bootstrap = Bootstrap(chosen.resamples, seed)
    zeroshot = ZeroShot(column="label", prompts=_STEM, distractors=True)
    rows = _by_name(zeroshot.measure(data, bootstrap, chosen))
    by_group = {}
    if groups is not None:
        for group in sorted(set(truth["group"]) - {""}):
            members = (truth["group"] == group) & (truth["label"] != "")
            n = int(members.sum())
            measured = {}
            if n >= chosen.minimum_group:
                part = EmbeddedSet(
                    _SET, "the arrays", image[members], None, None, None, prompts, 1.0,
                    {"label": truth["label"][members]}, 0,
                )  # fmt: skip
                measured = _by_name(zeroshot.measure(part, bootstrap, chosen))
            by_group[group] = {name: measured[name].value if measured else np.nan for name in rows} | {"n": n}
        fairness = Fairness(column="group", target="label", prompts=_STEM)
        rows |= _by_name(row for row in fairness.measure(data, bootstrap, chosen) if not row.group)
    table = pd.DataFrame.from_dict(by_group, orient="index").rename_axis("group")
    return Evaluation(
        pd.Series({name: row.value for name, row in rows.items()}, dtype=float),
        table,
        pd.DataFrame.from_dict(
            {name: [row.ci_low, row.ci_high, row.n, row.random] for name, row in rows.items()},
            orient="index", columns=["ci_low", "ci_high", "n", "random"],
        ),
    )  # fmt: skip


def _by_name(rows) -> dict[str, MetricRow]:
    return {row.metric.rpartition("/")[2]: row for row in rows}


def _vectors(values: Any, where: str, dimensions: tuple[int, ...]) -> np.ndarray:
    """L2-normalised float32 copy of an array or tensor."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    vectors = np.array(values, dtype=np.float32)
    if vectors.ndim not in dimensions or not vectors.size:
        shapes = " or ".join(f"{n} dimensions" for n in dimensions)
        raise InputError(f"shape {vectors.shape} is not of {shapes}", where, "give one row per item")
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise InputError("a vector is zero or not finite", where, "embed it again, or leave it out")
    return vectors / length


def _names(values: Sequence[Any], n: int, where: str) -> np.ndarray:
    """Names as an array of str, shape (n,); '' where there is none."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    items = np.asarray(values, dtype=object)
    if items.shape != (n,):
        raise InputError(f"shape {items.shape} for {n} images", where, "give one value per image")
    missing = pd.isna(items)
    return np.array(["" if gone else str(item) for item, gone in zip(items, missing, strict=True)])
