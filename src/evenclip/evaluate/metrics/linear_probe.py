"""Linear probe: logistic regression on frozen image embeddings, with all training images or a few per class.

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

# candidates for the inverse strength of the L2 penalty; for unit embeddings even the largest is moderate
STRENGTHS = np.logspace(-1, 5, 7)
HELD_OUT = 0.2  # share of the training images that selects the strength
TEST = 0.3  # share of the set used for testing if there is no training split
DRAWS = 3  # few-shot training sets; their choice changes the accuracy by percentage points
CLIP = "Radford et al. 2021 (CLIP), arXiv 2103.00020, section 3.2"


class LinearProbe(Measurement):
    """Linear probe or few-shot probe of a truth column."""

    metrics: ClassVar = (
        Definition("linear_probe/acc1", "test accuracy of a logistic regression on the embeddings", "P(y' = y)",
                   "[0, 1]", "1 / number of classes", CLIP),
        Definition("linear_probe/mean_per_class_recall", "mean over classes of the recall of that regression",
                   "mean_c P(y' = c | y = c)", "[0, 1]", "1 / number of classes", CLIP),
        Definition("few_shot/acc1_at_{k}", "accuracy of a logistic regression trained on k images per class; "
                   "mean over 3 random draws",
                   "P(y' = y)", "[0, 1]", "1 / number of classes", CLIP + "; Alabdulmohsin et al. 2024 (M4), 10-shot"),
    )  # fmt: skip

    kind: Literal["linear_probe"] = "linear_probe"
    """Linear probe."""
    column: str
    """Truth column with the class of each image; images without a value are left out."""
    shots: Annotated[int, Field(ge=2)] | None = None
    """Training images per class; default: all."""
    train_split: Annotated[str, StringConstraints(pattern=r"^\w+$")] | None = None
    """Split to train on, e.g. train; its data folder is beside the evaluated one. Default: train on 70 % of the set
    itself and test on 30 %, stratified by class; copies of one file stay together."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The class column, and the digest that identifies copies of a file."""
        return (self.column, "sha256")

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield the test accuracy of L2-regularised logistic regression (L-BFGS) on the unit embeddings.

        The penalty is selected on a fifth of the training images, stratified by class; the regression is then trained
        on all of them. Test images are never used for this. The few-shot accuracy is the mean over 3 draws of training
        images. Intervals are over test images only and do not cover the choice of training images.
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
        """Names of the classes, training images and test images."""
        where = f"{data.where}, column {self.column}"
        source = data if self.train_split is None else data.train
        if source is None:
            raise InputError(f"no embeddings of the split '{self.train_split}'", where, "give --train-embeddings")
        names = sorted(set(source.truth[self.column].tolist()) - {""})
        if len(names) < 2:
            raise InputError(f"only {len(names)} class(es)", where, "a probe needs at least two")
        train, test = (Labelled.of(split, self.column, names) for split in (source, data))
        if self.train_split is None:
            is_test = _by_class(train.codes, data.truth["sha256"][train.rows], seed)
            train, test = train.take(~is_test), train.take(is_test)
        counts = np.bincount(train.codes, minlength=len(names))
        if counts.min() < 2 or not len(test.codes):
            what = f"class '{names[counts.argmin()]}' has {counts.min()} training image(s), the probe needs 2"
            raise InputError(what, where, "use a larger set, or a training split")
        return names, train, test


class Labelled:
    """Labelled embeddings: ``image`` (n, d), class index ``codes`` (n,), ``rows`` (n,) in their set."""

    def __init__(self, image: np.ndarray, codes: np.ndarray, rows: np.ndarray):
        self.image, self.codes, self.rows = image, codes, rows

    @classmethod
    def of(cls, data: EmbeddedSet, column: str, names: list[str]) -> "Labelled":
        """Select the images with a class; `InputError` for a class that is not among ``names``."""
        codes = data.codes(column, tuple(names))
        rows = np.flatnonzero(codes >= 0)
        return cls(data.image[rows], codes[rows], rows)

    def take(self, index: np.ndarray) -> "Labelled":
        """Subset given by a mask or by positions."""
        return Labelled(self.image[index], self.codes[index], self.rows[index])

    def few(self, shots: int, names: list[str], rng: np.random.Generator) -> "Labelled":
        """Draw ``shots`` images per class, without replacement."""
        members = [np.flatnonzero(self.codes == code) for code in range(len(names))]
        smallest = min(members, key=len)
        if len(smallest) < shots:
            name = names[self.codes[smallest[0]]]
            what = f"class '{name}' has {len(smallest)} training images, fewer than {shots} shots"
            raise InputError(what, "linear_probe", "lower shots, or use a larger set")
        return self.take(np.concatenate([rng.choice(rows, shots, replace=False) for rows in members]))


def _by_class(codes: np.ndarray, copies: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the test images, shape (n,): the share `TEST` of each class; copies of a file stay together."""
    rng = np.random.default_rng([seed, len(codes)])
    _, first, file = np.unique(copies, return_index=True, return_inverse=True)
    is_test = np.zeros(len(first), dtype=bool)
    for code in np.unique(codes):
        files = np.flatnonzero(codes[first] == code)
        is_test[rng.permutation(files)[: round(TEST * len(files))]] = True
    return is_test[file]


def _fit(train: Labelled, rng: np.random.Generator):
    """Fit a logistic regression, with the penalty selected on a held-out part of ``train``."""
    held_out = np.zeros(len(train.codes), dtype=bool)
    for code in np.unique(train.codes):
        rows = rng.permutation(np.flatnonzero(train.codes == code))
        held_out[rows[: max(1, round(HELD_OUT * len(rows)))]] = True
    rest, validation = train.take(~held_out), train.take(held_out)
    scores = [_regression(rest, strength).score(validation.image, validation.codes) for strength in STRENGTHS]
    return _regression(train, STRENGTHS[int(np.argmax(scores))])  # ties: the strongest penalty


def _regression(train: Labelled, strength: float):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # slow import: takes a second

    with warnings.catch_warnings():
        # a weak penalty on separable classes may not converge; it is scored as it is
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=200).fit(train.image, train.codes)
