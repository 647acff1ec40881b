"""Embedded set: embeddings of a set's images, captions and prompts, with the truth columns of its images."""

import difflib
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
import scipy  # scipy.special is imported when it is first used
from pydantic import Field

from evenclip.errors import InputError

Columns = str | Annotated[list[str], Field(min_length=2)]


def as_columns(column: Columns) -> tuple[str, ...]:
    """Tuple of the truth columns that ``column`` names."""
    return (column,) if isinstance(column, str) else tuple(column)


@dataclass(frozen=True)
class PromptClasses:
    """Zero-shot classes: their names, prompt-ensemble embeddings and embeddings under each single template.

    ``embedding`` (n_classes, d) and ``templates`` (n_templates, n_classes, d) are L2-normalised.
    """

    names: tuple[str, ...]
    embedding: np.ndarray
    templates: np.ndarray


@dataclass(frozen=True)
class EmbeddedSet:
    """Embeddings of one set (L2-normalised float32) and the truth columns of its images, in the same order.

    Attributes
    ----------
    name, where : str
        Name of the set in the metrics; its files, for error messages.
    image : ndarray, shape (n, d)
    text : ndarray, shape (m, d), or None
        Captions.
    text_image : ndarray of int, shape (m,), or None
        Image that each caption belongs to.
    foil : ndarray, shape (n, d), or None
        Wrong captions; a row of NaN = none.
    prompts : dict of str to PromptClasses
        Classes by the stem of their prompt file.
    logit_scale : float
    truth : dict of str to ndarray of str, shape (n,)
        Truth columns; '' = not applicable.
    n_without_embedding : int
        Number of pairs of the data folder without an embedding.
    train : EmbeddedSet, optional
        Training split of a linear probe, if the task names one.
    """

    name: str
    where: str
    image: np.ndarray
    text: np.ndarray | None
    text_image: np.ndarray | None
    foil: np.ndarray | None
    prompts: dict[str, PromptClasses]
    logit_scale: float
    truth: dict[str, np.ndarray]
    n_without_embedding: int
    train: "EmbeddedSet | None" = None

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.image)

    def classes(self, stem: str) -> PromptClasses:
        """Classes of the prompt file ``stem``; `InputError` if it is unknown or has only one class."""
        if stem not in self.prompts:
            near = difflib.get_close_matches(stem, self.prompts, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has: {', '.join(sorted(self.prompts)) or 'none'}"
            raise InputError(f"no embeddings of the prompts '{stem}'", self.where, hint)
        classes = self.prompts[stem]
        if len(classes.names) < 2:
            raise InputError(f"the prompts '{stem}' have only one class", self.where, "a choice needs at least two")
        return classes

    def similarity(self, stem: str) -> np.ndarray:
        """Cosine similarity of each image to each class of ``stem``, shape (n, n_classes)."""
        return self.image @ self.classes(stem).embedding.T

    def probabilities(self, stem: str) -> np.ndarray:
        """Zero-shot distribution softmax(logit_scale * cosine) over the classes of ``stem``, shape (n, n_classes).

        Models trained with the sigmoid loss are treated alike: their logit_bias is the same for all classes, so it
        changes neither the softmax nor the best class.
        """
        return scipy.special.softmax(self.logit_scale * self.similarity(stem).astype(float), axis=1)

    def choices(self, stem: str) -> np.ndarray:
        """Predicted class of each image as one-hot shares, shape (n, n_classes); tied classes get equal shares."""
        similarity = self.similarity(stem)
        best = similarity == similarity.max(axis=1, keepdims=True)
        return best / best.sum(axis=1, keepdims=True)

    def with_template(self, stem: str, index: int) -> Self:
        """Copy of the set with one template of ``stem`` instead of the prompt ensemble."""
        classes = self.prompts[stem]
        return replace(self, prompts=self.prompts | {stem: replace(classes, embedding=classes.templates[index])})

    def column(self, column: Columns) -> np.ndarray:
        """Value of each image in ``column``, or in an intersection of columns as "a/b"; shape (n,), '' = none."""
        parts = [self.truth[name] for name in as_columns(column)]
        complete = np.all([part != "" for part in parts], axis=0)
        return np.where(complete, ["/".join(values) for values in zip(*parts, strict=True)], "")

    def codes(self, column: str, names: tuple[str, ...]) -> np.ndarray:
        """Index in ``names`` of each image's value in ``column``, shape (n,); -1 = not applicable."""
        position = {name: index for index, name in enumerate(names)} | {"": -1}
        values, inverse = np.unique(self.truth[column], return_inverse=True)
        unknown = [value for value in values if value not in position]
        if unknown:
            near = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the classes are {', '.join(names)}"
            raise InputError(f"the value '{unknown[0]}' is not a class", f"{self.where}, column {column}", hint)
        codes = np.array([position[value] for value in values], dtype=int)[inverse]
        if (codes < 0).all():
            raise InputError("no image has a value", f"{self.where}, column {column}", "name another column")
        return codes
