"""Fair contrastive loss (FCL, ours): the labels that the model sees should not depend on the perceived group.

Reads a prompt file of labels, and the perceived groups of the labels table. It is the training counterpart of the
model's association bias (AB, `evenclip.evaluate.metrics.association`).
"""

from pathlib import Path

import numpy as np
import torch

from evenclip.train.group_labels import GroupLabels
from evenclip.train.method_options import FclOptions
from evenclip.train.plugin import MethodContext, MethodParts, Step, Term
from evenclip.train.zero_shot_head import ZeroShotHead


def build(context: MethodContext, options: FclOptions) -> MethodParts:
    """The loss as a term of the training."""
    return MethodParts(terms=[FairContrastiveLoss(context, options, context.group_labels)])


class FairContrastiveLoss(Term):
    r"""The sum over contrasts k of :math:`\lVert E[f(x) | s_k = 1] - E[f(x) | s_k = 0] \rVert_1`.

    f is the zero-shot distribution over the labels of the prompt file. The expectations are running means over all
    images seen, in which a batch counts ``memory`` times as much as the one after it. The gradient is that of this
    batch's own means, with the signs of the running differences: a longer memory makes the signs more reliable and the
    gradient no smaller. The logit scale gets no gradient, so that a model cannot look fair by being uncertain.

    Parameters
    ----------
    context : MethodContext
    options : FclOptions
    group_labels : GroupLabels
    """

    def __init__(self, context: MethodContext, options: FclOptions, group_labels: GroupLabels):
        super().__init__()
        self.weight, self.lr, self._memory = options.weight, context.options.lr, options.memory
        self._zeroshot = ZeroShotHead(Path(options.prompts), context.tokens)
        member = np.column_stack([group_labels.inside, group_labels.outside]).astype(np.float32)  # (n, 2K)
        self._member = torch.from_numpy(member)
        self.register_buffer("_total", torch.zeros(member.shape[1], len(self._zeroshot.names)))
        self.register_buffer("_count", torch.zeros(member.shape[1]))

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The loss, and ``fcl_ab_max``: the largest difference of any label, as in the model's AB."""
        classes = self._zeroshot.classes(step.encode_text(self._zeroshot.tokens))  # (C, d)
        probability = torch.softmax(step.logit_scale.detach() * step.image @ classes.T, dim=1)  # (b, C)
        member = self._member[torch.from_numpy(step.batch.rows)].to(step.image.device)  # (b, 2K)
        sums, count = member.T @ probability, member.sum(dim=0)
        self._total = self._memory * self._total + sums.detach()
        self._count = self._memory * self._count + count
        running = _gap(self._total, self._count)  # (K, C)
        current = _gap(sums, count)
        gap = running.abs()
        # the value of the running difference, the gradient of the current one
        loss = gap.sum() + (running.sign() * (current - current.detach())).sum()
        return loss, {"fcl_ab_max": gap.max()}


def _gap(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Difference of the means of each contrast, (K, C), of sums (2K, C) and counts (2K,); 0 if one is empty."""
    inside, outside = (total / count.clamp(min=1e-6)[:, None]).chunk(2)
    return (inside - outside) * (count > 0).view(2, -1).all(dim=0)[:, None]
