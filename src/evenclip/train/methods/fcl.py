"""FCL, the fair contrastive loss: what the model sees in images should not depend on the perceived group (ours).

Reads a prompt file and, of the labels table, the groups. The in-training twin of model
AB (`evenclip.evaluate.metrics.association`).
"""

from pathlib import Path

import numpy as np
import torch

from evenclip.train.group_labels import Perceived
from evenclip.train.options import FclOptions
from evenclip.train.plugin import Setting, Step, Term
from evenclip.train.zero_shot_head import ZeroShot


class FairContrast(Term):
    r"""The sum over contrasts k of :math:`\lVert E[f(x) | s_k = 1] - E[f(x) | s_k = 0] \rVert_1`.

    f is the zero-shot distribution over the labels of the prompt file. The expectations are means over all images seen,
    an image of the batch before counting ``memory`` times one of this batch. Gradients are those of this batch's own
    means, with the signs of the remembered differences: a longer memory steadies the signs and weakens nothing. The
    logit scale gets none: a model must not look fair by being unsure.

    Parameters
    ----------
    setting : Setting
    options : FclOptions
    perceived : Perceived
    """

    def __init__(self, setting: Setting, options: FclOptions, perceived: Perceived):
        super().__init__()
        self.weight, self.lr, self._memory = options.weight, setting.options.lr, options.memory
        self._zeroshot = ZeroShot(Path(options.prompts), setting.tokens)
        member = np.column_stack([perceived.inside, perceived.outside]).astype(np.float32)  # (n, 2K)
        self._member = torch.from_numpy(member)
        self.register_buffer("_total", torch.zeros(member.shape[1], len(self._zeroshot.names)))
        self.register_buffer("_count", torch.zeros(member.shape[1]))

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """The loss, and ``fcl_ab_max``, the largest difference of any label, as the model AB."""
        classes = self._zeroshot.classes(step.encode_text(self._zeroshot.tokens))  # (C, d)
        seen = torch.softmax(step.logit_scale.detach() * step.image @ classes.T, dim=1)  # (b, C)
        member = self._member[torch.from_numpy(step.batch.rows)].to(seen.device)  # (b, 2K)
        sums, here = member.T @ seen, member.sum(dim=0)
        self._total = self._memory * self._total + sums.detach()
        self._count = self._memory * self._count + here
        remembered = _gap(self._total, self._count)  # (K, C)
        now = _gap(sums, here)
        gap = remembered.abs()
        loss = (
            gap.sum() + (remembered.sign() * (now - now.detach())).sum()
        )  # the value of one, the gradient of the other
        return loss, {"fcl_ab_max": gap.max()}


def _gap(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Mean inside less mean outside of each contrast, (K, C), from sums (2K, C) and counts (2K,); 0 if one is empty."""
    inside, outside = (total / count.clamp(min=1e-6)[:, None]).chunk(2)
    return (inside - outside) * (count > 0).view(2, -1).all(dim=0)[:, None]
