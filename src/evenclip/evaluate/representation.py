"""Representation bias of a model: which value of an attribute its zero-shot head sees, over all images of a set.

Reads the prompts of the attribute's values; yields bias/<set>/rb and bias/<set>/rb_hard. The images need not show
people: random images are the published use.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import EvaluateOptions, Measurement, TargetShares, target_vector
from evenclip.records import MetricRow


class Representation(Measurement):
    """Model RB: distance of the mean prediction from the target shares."""

    kind: Literal["representation"] = "representation"
    """Representation bias."""
    prompts: str
    """Stem of the prompt file with the values of the perceived attribute, e.g. woman and man."""
    targets: TargetShares = None
    """Target share of each value, summing to 1; default: equal shares."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """max_k |pi_k - mean_x f_k(x)| with f the zero-shot distribution (rb), or the best value alone (rb_hard).

        Range [0, 1]. rb: model representation bias of M4 (arXiv 2403.04547). rb_hard: the form that SigLIP 2 prints; an
        image whose best values tie counts in equal parts. Both intervals inherit the upward bias of a maximum, see
        `evenclip.evaluate.bootstrap`.
        """
        names = data.classes(self.prompts).names
        uniform = np.full(len(names), 1 / len(names))
        target = target_vector(self.targets, names, uniform, f"representation of {data.name}, targets")
        soft = data.probabilities(self.prompts)
        similarity = data.similarity(self.prompts)
        best = similarity == similarity.max(axis=1, keepdims=True)
        for metric, f in (("rb", soft), ("rb_hard", best / best.sum(axis=1, keepdims=True))):
            yield bootstrap.means(f).row(
                f"bias/{data.name}/{metric}", lambda means: np.abs(target - means[..., 0, :]).max(axis=-1), data.n
            )
