"""Zero-shot classification: the class whose prompts are most similar to the image.

Reads a truth column and the prompts of its classes; yields zeroshot/<set>/{acc1, acc5, mean_per_class_recall}.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.hits import top_k_hits
from evenclip.evaluate.measurement import EvaluateOptions, Measurement
from evenclip.records import MetricRow


class ZeroShot(Measurement):
    """Zero-shot classification of a truth column."""

    kind: Literal["zeroshot"] = "zeroshot"
    """Zero-shot classification."""
    column: str
    """Truth column with the class of each image; images without a value are left out."""
    prompts: str
    """Stem of the prompt file with the classes."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The class column."""
        return (self.column,)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Share of images whose class is the most similar (acc1) or among the five most similar (acc5) of all classes.

        mean_per_class_recall is the mean over the classes that have images (balanced accuracy), its bootstrap
        stratified by class. acc5 is given where there are more than five classes. Ties: see `evenclip.evaluate.hits`.
        """
        classes = data.classes(self.prompts)
        n_classes = len(classes.names)
        codes = data.codes(self.column, classes.names)
        rows = codes >= 0
        scores, right = data.similarity(self.prompts)[rows], codes[rows]
        n = len(right)
        first = top_k_hits(1, scores, right)[:, None]
        yield bootstrap.means(first).row(f"zeroshot/{data.name}/acc1", _only, n, random=1 / n_classes)
        if n_classes > 5:
            fifth = top_k_hits(5, scores, right)[:, None]
            yield bootstrap.means(fifth).row(f"zeroshot/{data.name}/acc5", _only, n, random=5 / n_classes)
        _, strata = np.unique(right, return_inverse=True)
        recalls = bootstrap.means(first, strata)
        yield recalls.row(
            f"zeroshot/{data.name}/mean_per_class_recall",
            lambda means: means[..., 0].mean(axis=-1),
            n,
            random=1 / n_classes,
        )


def _only(means: np.ndarray) -> np.ndarray:
    return means[..., 0, 0]
