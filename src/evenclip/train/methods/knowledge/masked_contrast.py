"""The mathematics of Knowledge-CLIP's losses: masked cross-entropy, symmetric contrast and distillation.

Each loss is a mean over rows, computed in float32 at least.
"""

import torch
from torch.nn import functional as F


def masked_cross_entropy(logits: torch.Tensor, target: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the columns that are not masked: -mean_i log softmax(logits_i)[target_i].

    Parameters
    ----------
    logits : Tensor of shape (n, m)
    target : Tensor of int, shape (n,)
        The correct column of each row.
    masked : Tensor of bool, shape (n, m)
        Columns that are correct too, so that they are no negatives; the target itself is never masked.
    """
    others = masked.scatter(1, target[:, None], False)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise.masked_fill(others, -torch.inf), target)


def symmetric_contrast(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, masked: torch.Tensor):
    """Mean of the cross-entropies of both directions of ``scale * first @ second.T``, with the diagonal correct.

    Parameters
    ----------
    first, second : Tensor of shape (n, d)
        Unit rows.
    scale : Tensor, scalar
    masked : Tensor of bool, shape (n, n)
        Pairs that are no negatives.
    """
    logits = scale * first @ second.T
    target = torch.arange(len(logits), device=logits.device)
    return (masked_cross_entropy(logits, target, masked) + masked_cross_entropy(logits.T, target, masked.T)) / 2


def distillation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean KL(teacher || student) of the distributions of images over texts and of texts over images.

    Parameters
    ----------
    student, teacher : Tensor of shape (b, b)
        Scaled image-to-text similarities of one batch; the teacher's get no gradient.
    """
    teacher = teacher.detach()

    def divergence(given: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return F.kl_div(given.log_softmax(1), by.log_softmax(1), reduction="batchmean", log_target=True)

    return (divergence(student, teacher) + divergence(student.T, teacher.T)) / 2
