"""AdamW and its learning rate, as CLIP models are trained."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from evenclip.train.options import TrainOptions
from evenclip.train.step import Term

BETAS = (0.9, 0.98)  # Radford et al. 2021, table 18 (ViT)
EPSILON = 1e-6
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5: larger scales made training unstable


def make_optimizer(module: nn.Module, options: TrainOptions, terms: Iterable[Term] = ()) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: parameters of fewer dimensions are gains, biases and scales.

    Each group keeps its highest learning rate as ``"peak"``: the training's for the model, a term's own for a term.
    """
    groups = _groups(module, options.lr, options.weight_decay)
    for term in terms:
        groups += _groups(term, term.lr, options.weight_decay)
    return torch.optim.AdamW(groups, lr=options.lr, betas=BETAS, eps=EPSILON, fused=True)


def _groups(module: nn.Module, peak: float, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [p for p in module.parameters() if p.requires_grad]
    matrices, others = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    decays = ((matrices, weight_decay), (others, 0.0))
    return [{"params": group, "weight_decay": decay, "peak": peak} for group, decay in decays if group]


def make_schedule(options: TrainOptions, n_steps: int) -> Callable[[int, float], float]:
    """Learning rate by step, from 0, and peak: a linear rise over the warm-up, then a cosine to 0 at ``n_steps``."""
    n_warmup = round(options.warmup_share * n_steps)

    def rate(step: int, peak: float) -> float:
        if step < n_warmup:
            return peak * (step + 1) / n_warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))

    return rate


@torch.no_grad()
def clamp_logit_scale(module: nn.Module) -> None:
    """Keep the logit scale, a logarithm, in [0, log 100]."""
    module.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
