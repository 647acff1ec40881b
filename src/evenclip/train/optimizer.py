"""AdamW and its learning rate, as CLIP models are trained."""

import math
from collections.abc import Callable

import torch
from torch import nn

from evenclip.train.options import TrainOptions

BETAS = (0.9, 0.98)  # Radford et al. 2021, table 18 (ViT)
EPSILON = 1e-6
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5: larger scales made training unstable


def make_optimizer(module: nn.Module, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: parameters of fewer dimensions are gains, biases and scales."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=BETAS, eps=EPSILON, fused=True)


def make_schedule(options: TrainOptions, n_steps: int) -> Callable[[int], float]:
    """Learning rate by step, from 0: a linear rise over the warm-up, then a cosine that reaches 0 at ``n_steps``."""
    n_warmup = round(options.warmup_share * n_steps)

    def rate(step: int) -> float:
        if step < n_warmup:
            return options.lr * (step + 1) / n_warmup
        return options.lr * 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))

    return rate


@torch.no_grad()
def clamp_logit_scale(module: nn.Module) -> None:
    """Keep the logit scale, a logarithm, in [0, log 100]."""
    module.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
