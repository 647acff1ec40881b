"""Zero-shot classification: each image is assigned to the class with the most similar prompts.

Reads a truth column and the prompts of its classes; yields zeroshot/<set>/{acc1, acc5, mean_per_class_recall,
true_class_probability}.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, share_row
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import Definition, EvaluateOptions, Measurement
from evenclip.evaluate.ranking import mean_recall_row, top_k_hits
from evenclip.tables import MetricRow

CLIP = "Radford et al. 2021 (CLIP), arXiv 2103.00020, section 3.1"


class ZeroShot(Measurement):
    """Zero-shot classification of a truth column."""

    metrics: ClassVar = (
        Definition("zeroshot/acc1", "share of images whose true class is the most similar", "P(y in top 1)",
                   "[0, 1]", "1 / number of classes", CLIP),
        Definition("zeroshot/acc5", "share of images whose true class is among the five most similar", "P(y in top 5)",
                   "[0, 1]", "5 / number of classes", CLIP),
        Definition("zeroshot/mean_per_class_recall", "mean over classes of the share of images recognised",
                   "mean_c P(y in top 1 | y = c)", "[0, 1]", "1 / number of classes", CLIP),
        Definition("zeroshot/true_class_probability", "mean probability that is given to the true class", "E[f_y]",
                   "[0, 1]", "1 / number of classes", "ours; f = softmax(logit scale * cosine)"),
    )  # fmt: skip

    kind: Literal["zeroshot"] = "zeroshot"
    """Zero-shot classification."""
    column: str
    """Truth column with the class of each image; images without a value are left out."""
    prompts: str
    """Name of the prompt file with the classes, without `.yaml`."""
    distractors: bool = False
    """Whether classes without images are allowed, as wrong choices."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The class column."""
        return (self.column,)

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield the share of images whose true class is the most similar (acc1) or among the top five (acc5).

        mean_per_class_recall is the mean over the classes that have images (balanced accuracy). acc5 is omitted with
        five classes or fewer. A class is embedded as its prompt ensemble: the normalised mean of its normalised
        template embeddings. Ties: see `evenclip.evaluate.ranking`. true_class_probability is the mean of f_y, the
        probability that the distribution of association bias gives to the true class: how much of it is knowledge.
        """
        classes = data.classes(self.prompts)
        n_classes = len(classes.names)
        codes = data.codes(self.column, classes.names)
        rows = codes >= 0
        empty = np.flatnonzero(np.bincount(codes[rows], minlength=n_classes) == 0)
        if len(empty) and not self.distractors:
            what = f"{len(empty)} of the classes of {self.prompts} have no image, e.g. '{classes.names[empty[0]]}'"
            hint = "remove them from the prompt file, or set distractors: true to keep them as wrong choices"
            raise InputError(what, f"{data.where}, column {self.column}", hint)
        scores, right = data.similarity(self.prompts)[rows], codes[rows]
        first = top_k_hits(1, scores, right)
        yield share_row(f"zeroshot/{data.name}/acc1", first, random=1 / n_classes)
        if n_classes > 5:
            yield share_row(f"zeroshot/{data.name}/acc5", top_k_hits(5, scores, right), random=5 / n_classes)
        name = f"zeroshot/{data.name}/mean_per_class_recall"
        yield mean_recall_row(name, first, right, bootstrap, random=1 / n_classes)
        probability = data.probabilities(self.prompts)[np.flatnonzero(rows), right]
        yield share_row(f"zeroshot/{data.name}/true_class_probability", probability, random=1 / n_classes)
