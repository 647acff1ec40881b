"""Which negatives of an anchor are mined, and their weights: adaptive hard negative mining.

Pure functions of tensors; ours. Neighbours: Robinson et al. 2021 (weights by hardness, normalised), FSC-CLIP (focal
factor).
"""

import math
from dataclasses import dataclass

import torch

ALMOST_ONE = 1 - 1e-6
RAKING_ROUNDS = 8  # several contrasts at once are fitted in turns; one contrast needs a single round


@dataclass(frozen=True)
class Mining:
    """How negatives are mined at one moment of a training; see `evenclip.train.options`."""

    low: float
    high: float
    top_k: int | None
    sharpness: float
    focus: float
    max_weight: float
    strength: float = 1.0


@torch.no_grad()
def mine(
    logits: torch.Tensor,
    positive: torch.Tensor,
    allowed: torch.Tensor,
    n_plain: int,
    mining: Mining,
    member: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Weights of the candidates of each anchor.

    A candidate's difficulty is the percentile of its logit among those allowed. Of the band [low, high] the ``top_k``
    hardest are kept; with ``member``, so many of each group that it keeps its share. With logits :math:`l_j` and
    :math:`p_j` their softmax over the positive and all that is allowed,

    .. math:: w_j \propto \left( e^{l_j} (1 - p_j)^{focus} \right)^{sharpness},

    within a factor ``max_weight`` of the geometric mean, and scaled so that they sum to what plain negatives would: the
    number of those of the batch that are allowed. Of this sum the share ``strength`` is for what was mined, the rest is
    spread evenly over all that is allowed. With ``member`` the mass of each group is then brought to its share of the
    batch's plain negatives, as far as a factor ``max_weight`` does it: what is mined makes no group a sign of being
    wrong. Equal shares in unequal data would: the optimum of the loss is log p(text | image) less the log of how
    often the text is a negative.

    Parameters
    ----------
    logits : Tensor of shape (n, c)
        Scaled similarities of n anchors with c candidates.
    positive : Tensor of shape (n,)
        Scaled similarity with the anchor's own pair.
    allowed : Tensor of shape (n, c), bool
        False: the anchor's own pair, or a false negative.
    n_plain : int
        The first so many candidates are the batch's.
    mining : Mining
    member : Tensor of shape (K, 2, c), bool, optional
        Candidates inside and outside each contrast of perceived groups.

    Returns
    -------
    Tensor of shape (n, c)
        At least 0; 0 = no negative of this anchor. All 0 where nothing is allowed.
    """
    total = allowed[:, :n_plain].sum(dim=1).clamp(min=1)
    share = None if member is None else _shares(allowed[:, :n_plain], member[..., :n_plain])
    order = logits.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = _places(order)
    n_allowed = allowed.sum(dim=1, keepdim=True)
    first = ((1 - mining.high) * n_allowed - 0.5).ceil().clamp(min=0).minimum(n_allowed - 1)  # of the hardest in it
    end = ((1 - mining.low) * n_allowed + 0.5).floor().maximum(first + 1)
    in_band = allowed & (rank >= first) & (rank < end)
    kept = in_band
    if mining.top_k is not None:
        kept = in_band & (rank < first + mining.top_k)
        kept = kept if member is None else _fair_choice(kept, in_band, order, member, share)
    everything = torch.cat([positive[:, None], logits.masked_fill(~allowed, -torch.inf)], dim=1).logsumexp(dim=1)
    p = (logits - everything[:, None]).exp().clamp(max=ALMOST_ONE)
    log_weight = mining.sharpness * (logits + mining.focus * torch.log1p(-p))
    mean = (log_weight * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
    bound = math.log(mining.max_weight)
    weight = (log_weight - mean).clamp(-bound, bound).exp() * kept
    weight = weight * (total / weight.sum(dim=1).clamp(min=1e-12))[:, None]
    evenly = allowed * (total[:, None] / n_allowed.clamp(min=1))
    weight = weight.lerp(evenly, 1 - mining.strength)
    return weight if member is None else _rake(weight, member, share, mining.max_weight)


def _places(order: torch.Tensor) -> torch.Tensor:
    """The place of each column in ``order``, shape (n, c): the inverse permutation of each row."""
    counted = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, counted)


def _shares(allowed: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """Shares of the two sides of each contrast among each anchor's plain negatives, shape (K, 2, n)."""
    counted = member.to(torch.float32) @ allowed.T.to(torch.float32)  # (K, 2, n)
    return counted / counted.sum(dim=1, keepdim=True).clamp(min=1)


def _fair_choice(
    kept: torch.Tensor, in_band: torch.Tensor, order: torch.Tensor, member: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """As many of each contrast as in ``kept``, but of each side its share of them, the hardest of the band."""
    chosen = kept & ~member.flatten(0, 1).any(dim=0)
    for contrast, of_sides in zip(member, share, strict=True):
        n_kept = (kept & contrast.any(dim=0)).sum(dim=1)
        for side, part in zip(contrast, of_sides, strict=True):
            candidates = in_band & side
            place = candidates.gather(1, order).cumsum(dim=1).gather(1, _places(order))  # 1 = hardest of its side
            chosen = chosen | (candidates & (place <= (part * n_kept).ceil()[:, None]))
    return chosen


def _rake(weight: torch.Tensor, member: torch.Tensor, share: torch.Tensor, most: float) -> torch.Tensor:
    """Weights whose mass is divided between the sides of each contrast as it should be; row sums stay.

    No weight changes by more than a factor ``most``: then shares come only near.
    """
    for _ in range(1 if len(member) == 1 else RAKING_ROUNDS):
        for contrast, of_sides in zip(member, share, strict=True):
            mass = weight @ contrast.T.to(weight.dtype)  # (n, 2)
            wanted = of_sides.T * mass.sum(dim=1, keepdim=True)
            factor = torch.where((mass > 0).all(dim=1, keepdim=True), wanted / mass.clamp(min=1e-12), 1.0)
            raked = weight * (1 + (factor.clamp(1 / most, most) - 1) @ contrast.to(weight.dtype))
            weight = raked * (weight.sum(dim=1) / raked.sum(dim=1).clamp(min=1e-12))[:, None]
    return weight
