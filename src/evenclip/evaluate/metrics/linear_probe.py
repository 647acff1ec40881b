"""Linear probe: logistic regression on frozen image embeddings, trained on all images or on a few of each class.

Reads a truth column; yields linear_probe/<set>/{acc1, mean_per_class_recall} or few_shot/<set>/acc1_at_<shots>.
"""

import warnings
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, StringConstraints

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, share_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import Definition, EvaluateOptions, Measurement
from evenclip.evaluate.ranking import mean_recall_row
from evenclip.tables import MetricRow

# inverse strengths of the L2 penalty that are tried; embeddings have length 1, so that even the largest is moderate
STRENGTHS = np.logspace(-1, 5, 7)
HELD_OUT = 0.2  # share of the training images that chooses among them
TEST = 0.3  # share of the set that is measured, where it has no training split
DRAWS = 3  # of the few images: their choice moves the result by points
CLIP = "Radford et al. 2021 (CLIP), arXiv 2103.00020, section 3.2"


class LinearProbe(Measurement):
    """Linear probe, or few-shot probe, of a truth column."""

    metrics: ClassVar = (
        Definition("linear_probe/acc1", "share of test images whose class a logistic regression finds", "P(y' = y)",
                   "[0, 1]", "1 / number of classes", CLIP),
        Definition("linear_probe/mean_per_class_recall", "mean over the classes of the share that is found",
                   "mean_c P(y' = c | y = c)", "[0, 1]", "1 / number of classes", CLIP),
        Definition("few_shot/acc1_at_{k}", "share of test images whose class a logistic regression on k images of each "
                   "class finds; mean over 3 draws of them",
                   "P(y' = y)", "[0, 1]", "1 / number of classes", CLIP + "; Alabdulmohsin et al. 2024 (M4), 10-shot"),
    )  # fmt: skip

    kind: Literal["linear_probe"] = "linear_probe"
    """Linear probe."""
    column: str
    """Truth column with the class of each image; images without a value are left out."""
    shots: Annotated[int, Field(ge=2)] | None = None
    """Training images of each class; default: all."""
    train_split: Annotated[str, StringConstraints(pattern=r"^\w+$")] | None = None
    """Split to train on, e.g. train: the data folder beside the evaluated one. Default: 70 % of the set itself are
    trained on and 30 % measured, by class; copies of one file are on the same side."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The class column, and what tells copies of a file."""
        return (self.column, "sha256")

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Accuracy on the test images of L2-regularised logistic regression (L-BFGS) on the unit embeddings.

        The strength of the penalty is chosen on a fifth of the training images, stratified by class, and the regression
        trained again on all of them; the test images take no part in it. Few-shot: the mean over 3 draws of the
        training images. The intervals are over test images only: they say nothing of other training images.
        """
        names, train, test = self._sides(data, bootstrap.seed)
        rng = np.random.default_rng([bootstrap.seed, len(names)])
        draws = [train] if self.shots is None else [train.few(self.shots, names, rng) for _ in range(DRAWS)]
        right = np.mean([_fit(draw, rng).predict(test.image) == test.codes for draw in draws], axis=0)
        chance = 1 / len(names)
        if self.shots is not None:
            name = f"few_shot/{data.name}/acc1_at_{self.shots}"
            yield bootstrap.means(right[:, None]).row(name, lambda m: m[..., 0, 0], len(right), random=chance)
            return
        name = f"linear_probe/{data.name}"
        yield share_row(f"{name}/acc1", right, random=chance)
        yield mean_recall_row(f"{name}/mean_per_class_recall", right, test.codes, bootstrap, random=chance)

    def _sides(self, data: EmbeddedSet, seed: int) -> tuple[list[str], "Labelled", "Labelled"]:
        """Names of the classes, and the images to train on and to test on."""
        where = f"{data.where}, column {self.column}"
        source = data if self.train_split is None else data.train
        if source is None:
            raise InputError(f"no embeddings of the split '{self.train_split}'", where, "give --train-embeddings")
        names = sorted(set(source.truth[self.column].tolist()) - {""})
        if len(names) < 2:
            raise InputError(f"{len(names)} class(es) only", where, "a probe needs two")
        train, test = (Labelled.of(split, self.column, names) for split in (source, data))
        if self.train_split is None:
            is_test = _by_class(train.codes, data.truth["sha256"][train.rows], seed)
            train, test = train.at(~is_test), train.at(is_test)
        counts = np.bincount(train.codes, minlength=len(names))
        if counts.min() < 2 or not len(test.codes):
            what = f"class '{names[counts.argmin()]}' has {counts.min()} training image(s), the probe needs 2"
            raise InputError(what, where, "use a larger set, or a training split")
        return names, train, test


class Labelled:
    """Embeddings with the position of their class: ``image`` (n, d), ``codes`` (n,), ``rows`` (n,) in their set."""

    def __init__(self, image: np.ndarray, codes: np.ndarray, rows: np.ndarray):
        self.image, self.codes, self.rows = image, codes, rows

    @classmethod
    def of(cls, data: EmbeddedSet, column: str, names: list[str]) -> "Labelled":
        """The images with a class; `InputError` for a class that is not among ``names``."""
        codes = data.codes(column, tuple(names))
        rows = np.flatnonzero(codes >= 0)
        return cls(data.image[rows], codes[rows], rows)

    def at(self, chosen: np.ndarray) -> "Labelled":
        """Those of a mask or of positions."""
        return Labelled(self.image[chosen], self.codes[chosen], self.rows[chosen])

    def few(self, shots: int, names: list[str], rng: np.random.Generator) -> "Labelled":
        """``shots`` of each class, drawn without replacement."""
        members = [np.flatnonzero(self.codes == code) for code in range(len(names))]
        few = min(members, key=len)
        if len(few) < shots:
            what = f"class '{names[self.codes[few[0]]]}' has {len(few)} training images, fewer than {shots} shots"
            raise InputError(what, "linear_probe", "lower shots, or use a larger set")
        return self.at(np.concatenate([rng.choice(rows, shots, replace=False) for rows in members]))


def _by_class(codes: np.ndarray, copies: np.ndarray, seed: int) -> np.ndarray:
    """Which images are tested, shape (n,): `TEST` of each class, all copies of a file on the side of its first."""
    rng = np.random.default_rng([seed, len(codes)])
    _, first, file = np.unique(copies, return_index=True, return_inverse=True)
    is_test = np.zeros(len(first), dtype=bool)
    for code in np.unique(codes):
        files = np.flatnonzero(codes[first] == code)
        is_test[rng.permutation(files)[: round(TEST * len(files))]] = True
    return is_test[file]


def _fit(train: Labelled, rng: np.random.Generator):
    """The logistic regression of ``train``, its penalty chosen on a held-out part of it."""
    held_out = np.zeros(len(train.codes), dtype=bool)
    for code in np.unique(train.codes):
        rows = rng.permutation(np.flatnonzero(train.codes == code))
        held_out[rows[: max(1, round(HELD_OUT * len(rows)))]] = True
    rest, judge = train.at(~held_out), train.at(held_out)
    scores = [_regression(rest, strength).score(judge.image, judge.codes) for strength in STRENGTHS]
    return _regression(train, STRENGTHS[int(np.argmax(scores))])  # of equal ones the strongest penalty


def _regression(train: Labelled, strength: float):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # a second to import, which other tasks do without

    with warnings.catch_warnings():
        # weak penalties on separable classes have no finite optimum near: they are judged as they stand
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=200).fit(train.image, train.codes)
