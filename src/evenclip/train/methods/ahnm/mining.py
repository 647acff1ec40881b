"""The weights of an anchor's negatives in adaptive hard negative mining (AHNM); pure functions of tensors.

Ours. Related: weights by hardness (Robinson et al. 2021, "Contrastive learning with hard negative samples") and the
focal factor of FSC-CLIP (Oh et al. 2024).
"""

import math
from dataclasses import dataclass

import torch

ALMOST_ONE = 1 - 1e-6
RAKING_ROUNDS = 8  # several contrasts are fitted in turns; a single contrast needs one round


@dataclass(frozen=True)
class Mining:
    """How negatives are weighed at one moment of a training; see `evenclip.train.method_options.AhnmOptions`."""

    sharpness: float
    focus: float
    max_weight: float
    strength: float = 1.0


@torch.no_grad()
def negative_weights(
    logits: torch.Tensor,
    positive: torch.Tensor,
    allowed: torch.Tensor,
    n_plain: int,
    mining: Mining,
    member: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Weights of the candidate negatives of each anchor.

    With the logits :math:`l_j` of the allowed candidates, and :math:`p_j` their softmax over the positive and all
    allowed candidates,

    .. math:: w_j \propto \left( e^{l_j} (1 - p_j)^{focus} \right)^{sharpness},

    clipped to ``max_weight`` times the geometric mean and to that mean divided by ``max_weight``. They are scaled so
    that their sum is that of plain negatives: the number of allowed candidates of the batch. The share ``strength`` of
    this sum is distributed in this way, the rest evenly over all allowed candidates.

    With ``member``, weights are then multiplied by a factor for each group, at most ``max_weight``, so that each
    perceived group has its share of the batch's plain negatives. Mining then makes no group a sign of being wrong.
    Equal shares would, in unequal data: the optimum of the loss is log p(text | image) minus the logarithm of how often
    the text is a negative.

    Parameters
    ----------
    logits : Tensor of shape (n, c)
        Scaled similarities of n anchors with c candidates.
    positive : Tensor of shape (n,)
        Scaled similarity of each anchor with its own pair.
    allowed : Tensor of shape (n, c), bool
        False for the anchor's own pair and for false negatives.
    n_plain : int
        The first ``n_plain`` candidates are the batch's.
    mining : Mining
    member : Tensor of shape (K, 2, c), bool, optional
        Candidates inside and outside each contrast of perceived groups.

    Returns
    -------
    Tensor of shape (n, c)
        At least 0, and 0 where a candidate is not allowed.
    """
    total = allowed[:, :n_plain].sum(dim=1).clamp(min=1)
    n_allowed = allowed.sum(dim=1, keepdim=True)
    everything = torch.cat([positive[:, None], logits.masked_fill(~allowed, -torch.inf)], dim=1).logsumexp(dim=1)
    p = (logits - everything[:, None]).exp().clamp(max=ALMOST_ONE)
    log_weight = mining.sharpness * (logits + mining.focus * torch.log1p(-p))
    mean = (log_weight * allowed).sum(dim=1, keepdim=True) / n_allowed.clamp(min=1)
    bound = math.log(mining.max_weight)
    weight = (log_weight - mean).clamp(-bound, bound).exp() * allowed
    weight = weight * (total / weight.sum(dim=1).clamp(min=1e-12))[:, None]
    evenly = allowed * (total[:, None] / n_allowed.clamp(min=1))
    weight = weight.lerp(evenly, 1 - mining.strength)
    if member is None:
        return weight
    return _rake(weight, member, _shares(allowed[:, :n_plain], member[..., :n_plain]), mining.max_weight)


def _shares(allowed: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """Shares of the two sides of each contrast among each anchor's plain negatives, shape (K, 2, n)."""
    counts = member.to(torch.float32) @ allowed.T.to(torch.float32)  # (K, 2, n)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def _rake(weight: torch.Tensor, member: torch.Tensor, share: torch.Tensor, max_factor: float) -> torch.Tensor:
    """Weights with the wanted share of each side of each contrast (raking); the sum of each row stays.

    No weight changes by more than ``max_factor``; where that is not enough, the shares are only approached.
    """
    for _ in range(1 if len(member) == 1 else RAKING_ROUNDS):
        for contrast, side_shares in zip(member, share, strict=True):
            mass = weight @ contrast.T.to(weight.dtype)  # (n, 2)
            wanted = side_shares.T * mass.sum(dim=1, keepdim=True)
            factor = torch.where((mass > 0).all(dim=1, keepdim=True), wanted / mass.clamp(min=1e-12), 1.0)
            raked = weight * (1 + (factor.clamp(1 / max_factor, max_factor) - 1) @ contrast.to(weight.dtype))
            weight = raked * (weight.sum(dim=1) / raked.sum(dim=1).clamp(min=1e-12))[:, None]
    return weight
