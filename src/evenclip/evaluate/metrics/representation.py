"""Representation bias (RB) of a model: distance of its mean prediction of an attribute from the target shares.

Reads the prompts of the attribute's values; yields bias/<set>/{rb, rb_signed, rb_hard}. The images need not show
people; published results use random images.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from evenclip.bias import model_rb
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.embedded import EmbeddedSet
from evenclip.evaluate.measurement import (
    BiasMeasurement,
    Definition,
    EvaluateOptions,
    TargetShares,
    insufficient,
    target_vector,
)
from evenclip.tables import MetricRow


class Representation(BiasMeasurement):
    """Model representation bias: distance of the mean prediction from the target shares."""

    metrics: ClassVar = (
        Definition("bias/rb", "representation bias: distance of the mean zero-shot distribution from the target shares",
                   "max_k |pi_k - E_x[f_k(x)]|", "[0, 1]", "value of a uniform prediction",
                   "Alabdulmohsin et al. 2024 (M4), arXiv 2403.04547"),
        Definition("bias/rb_hard", "representation bias of hard predictions: each image counts for its best value only",
                   "max_k |pi_k - share of images assigned to k|", "[0, 1]", "value of a uniform prediction",
                   "Tschannen et al. 2025 (SigLIP 2), arXiv 2502.14786"),
        Definition("bias/rb_signed", "representation bias with its sign: positive = the first of two values is "
                   "seen too often", "E_x[f_1(x)] - pi_1", "[-1, 1]", "value of a uniform prediction",
                   "Alabdulmohsin et al. 2024 (M4), arXiv 2403.04547"),
    )  # fmt: skip

    kind: Literal["representation"] = "representation"
    """Representation bias."""
    targets: TargetShares = None
    """Target share of each value; they sum to 1. Default: equal shares."""

    def measure(self, data: EmbeddedSet, bootstrap: Bootstrap, options: EvaluateOptions) -> Iterator[MetricRow]:
        """Yield max_k |pi_k - mean_x f_k(x)|, with f the zero-shot distribution (rb) or its argmax (rb_hard).

        The range is [0, 1]. rb is the model representation bias of M4 (Multi-Modal Moment Matching, arXiv 2403.04547);
        rb_signed is the same difference with its sign, for the first of two values. rb_hard is the form reported for
        SigLIP 2; tied values count in equal parts. `random` is the value for a uniform prediction.
        """
        names = data.classes(self.prompts).names
        uniform = np.full(len(names), 1 / len(names))
        target = target_vector(self.targets, names, uniform, f"representation of {data.name}, targets")
        random = float(model_rb(uniform, target))
        for metric, f in (("rb", data.probabilities(self.prompts)), ("rb_hard", data.choices(self.prompts))):
            name = f"bias/{data.name}/{metric}"
            if data.n < options.minimum_group:
                yield insufficient(name, "all images", data.n)
            else:
                means = bootstrap.means(f - target)
                yield means.norm_row(name, lambda m: model_rb(m[..., 0, :], 0.0), data.n, random)
                if metric == "rb" and len(names) == 2:
                    yield means.row(
                        f"{name}_signed", lambda m: m[..., 0, 0], data.n, random=float(uniform[0] - target[0])
                    )
