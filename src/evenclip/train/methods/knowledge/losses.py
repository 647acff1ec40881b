"""The mathematics of Knowledge-CLIP's losses: contrast and classification with masked false negatives, distillation.

Reads and writes nothing. Each is a mean over rows, in float32 at least.
"""

import torch
from torch.nn import functional as F


def masked_cross_entropy(logits: torch.Tensor, target: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """-mean_i log softmax(logits_i)[target_i] over the columns that are not masked.

    Parameters
    ----------
    logits : Tensor of shape (n, m)
    target : Tensor of int, shape (n,)
        The right column of each row.
    masked : Tensor of bool, shape (n, m)
        Columns that are right too, and so are no negatives of a row; the target itself always stays.
    """
    others = masked.scatter(1, target[:, None], False)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise.masked_fill(others, -torch.inf), target)


def symmetric_contrast(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, masked: torch.Tensor):
    """Mean of the two cross-entropies of ``scale * first @ second.T``, whose diagonal is right.

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
    """Mean of KL(teacher || student) over the images' distributions over texts and the texts' over images.

    Parameters
    ----------
    student, teacher : Tensor of shape (b, b)
        Scaled image-to-text similarities of one batch; no gradient reaches the teacher's.
    """
    teacher = teacher.detach()

    def divergence(given: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return F.kl_div(given.log_softmax(1), by.log_softmax(1), reduction="batchmean", log_target=True)

    return (divergence(student, teacher) + divergence(student.T, teacher.T)) / 2
