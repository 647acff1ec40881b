"""Contrasts of perceived groups, and the two biases of M4: representation bias (RB) and association bias (AB).

Everything that measures or removes bias uses these definitions: balancing (on unique cells), the audit and the history
of a training (on rows), the bias probe and the evaluation of a model. M4 is Alabdulmohsin et al., *CLIP the Bias: How
Useful is Balancing Data in Multimodal Learning?*, ICLR 2024, arXiv 2403.04547.

A contrast is a group, ``inside``, what it is compared with, ``outside``, and the target share of ``inside`` among both.
One-hot coding compares a group with all other rows; signed coding compares the two groups of a pair among the rows that
show exactly one of them.

A bias that cannot be measured is undefined: NaN in arrays, null in JSON, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from evenclip.errors import InputError

_BLOCK_ROWS = 1 << 16  # whose masses are computed at once: in the cache, however many rows there are
UNDEFINED = "undefined"
"""How texts for people print a bias that cannot be measured."""


@dataclass(frozen=True)
class Group:
    """A perceived group in n rows, or in n cells of equal rows.

    Attributes
    ----------
    attribute : str
        The attribute that the group is a value of, e.g. ``gender``.
    name : str
        Name of the group, e.g. ``gender.woman``.
    is_shown : numpy.ndarray, shape (n,), bool
        Whether the row shows the group; false if that is not known.
    is_known : numpy.ndarray, shape (n,), bool
        Whether it is known if the row shows the group.
    """

    attribute: str
    name: str
    is_shown: np.ndarray
    is_known: np.ndarray


@dataclass(frozen=True)
class Contrast:
    """A group and what it is compared with, in n rows or cells.

    Attributes
    ----------
    name : str
        Name of the group, e.g. ``gender.woman``.
    inside, outside : numpy.ndarray, shape (n,), bool
        Disjoint; rows in neither (not known, or with no or both groups of a pair) do not count.
    target : float
        Target share of ``inside`` among ``inside`` and ``outside``, in (0, 1).
    coding : {"one_hot", "signed"}
    outside_name : str
        What the group is compared with, e.g. ``gender.man``; `not gender.woman` under one-hot coding.
    """

    name: str
    inside: np.ndarray
    outside: np.ndarray
    target: float
    coding: str = "one_hot"
    outside_name: str = ""

    def __post_init__(self) -> None:
        if not self.outside_name:
            object.__setattr__(self, "outside_name", f"not {self.name}")

    @property
    def signal(self) -> np.ndarray:
        """Shape (n,): s - pi, that is 1 - target inside, -target outside, 0 elsewhere."""
        return self.inside * (1.0 - self.target) - self.outside * self.target

    @property
    def covered(self) -> np.ndarray:
        """Shape (n,), bool: inside or outside."""
        return self.inside | self.outside

    def at(self, rows: np.ndarray) -> Self:
        """The same contrast in the rows of the given numbers, in their order."""
        return replace(self, inside=self.inside[rows], outside=self.outside[rows])


def make_contrasts(
    groups: Sequence[Group], coding: str = "auto", target: Mapping[str, float] = {}, count: np.ndarray | None = None
) -> list[Contrast]:
    """Contrasts of all attributes, in the order in which ``groups`` names them.

    Parameters
    ----------
    groups : sequence of Group
    coding : {"auto", "one_hot", "signed"}
        ``auto`` is signed for attributes with two groups and one_hot otherwise.
    target : mapping of str to float
        Target share in (0, 1) of a group or, for each of its groups, of an attribute. Default: 1/2 for the groups of a
        signed pair and for the only group of an attribute; else each of V groups gets 1/V of the share of rows that
        show any of them.
    count : numpy.ndarray, shape (n,), optional
        Rows of each cell; default 1 each.

    Raises
    ------
    InputError
        ``target`` names an unknown group or contradicts itself, or signed coding meets an attribute without two groups.
    """
    attributes: dict[str, list[Group]] = {}
    for group in groups:
        attributes.setdefault(group.attribute, []).append(group)
    _check_target_names(attributes, target)
    contrasts: list[Contrast] = []
    for attribute, members in attributes.items():
        if coding == "signed" and len(members) != 2:
            what = f"attribute '{attribute}' has {len(members)} groups; signed coding needs two"
            raise InputError(what, "attribute_coding", "use one_hot or auto")
        signed = coding == "signed" or (coding == "auto" and len(members) == 2)
        contrasts += [_signed(members, target)] if signed else _one_hot(members, target, count)
    return contrasts


def _check_target_names(attributes: Mapping[str, list[Group]], target: Mapping[str, float]) -> None:
    names = [*attributes, *(group.name for members in attributes.values() for group in members)]
    for name in target:
        if name not in names:
            raise InputError(f"unknown group '{name}'", "target", f"known names: {', '.join(names)}")


def _signed(pair: list[Group], target: Mapping[str, float]) -> Contrast:
    first, second = pair
    share = target.get(first.attribute, 0.5)
    share = 1 - target[second.name] if second.name in target else share
    share = target.get(first.name, share)
    both_given = first.name in target and second.name in target
    unequal = both_given and abs(target[first.name] + target[second.name] - 1) > 1e-9
    if unequal or (first.attribute in target and share != 0.5):
        instead = f"give one of them, e.g. {first.name}=0.5"
        raise InputError(f"the two groups of '{first.attribute}' must share 1", "target", instead)
    is_known = first.is_known & second.is_known
    inside, outside = is_known & first.is_shown & ~second.is_shown, is_known & second.is_shown & ~first.is_shown
    return Contrast(first.name, inside, outside, share, "signed", second.name)


def _one_hot(members: list[Group], target: Mapping[str, float], count: np.ndarray | None) -> list[Contrast]:
    share = target.get(members[0].attribute)
    if share is None and len(members) == 1:
        share = 0.5
    elif share is None:
        is_known = np.logical_or.reduce([group.is_known for group in members])
        is_shown = np.logical_or.reduce([group.is_shown for group in members])
        count = np.ones(len(is_known), np.int64) if count is None else count
        share = float(count[is_shown & is_known].sum() / max(count[is_known].sum(), 1)) / len(members)
    return [
        Contrast(g.name, g.is_shown & g.is_known, g.is_known & ~g.is_shown, target.get(g.name, share)) for g in members
    ]


@dataclass(frozen=True)
class Bias:
    """Bias of one weighted data set, or of many along leading axes (the draws of a bootstrap).

    Attributes
    ----------
    share : numpy.ndarray, shape (..., K)
        Share of each group in its contrast; undefined where the contrast has no mass.
    association : numpy.ndarray, shape (..., K, R)
        P(label | inside) - P(label | outside); undefined where either side has no mass.
    target : numpy.ndarray, shape (K,)
        Target shares.
    counted : numpy.ndarray, shape (K,), bool
        Contrasts that RB and AB are maxima over; the others have too few rows.
    """

    share: np.ndarray
    association: np.ndarray
    target: np.ndarray
    counted: np.ndarray

    @cached_property
    def deviation(self) -> np.ndarray:
        """Shape (..., K): |share - target|; NaN where undefined or not counted."""
        return np.where(self.counted, np.abs(self.share - self.target), np.nan)

    @cached_property
    def strength(self) -> np.ndarray:
        """Shape (..., K, R): |association|; NaN where undefined or not counted."""
        return np.where(self.counted[:, None], np.abs(self.association), np.nan)

    @property
    def rb(self) -> np.ndarray:
        """Shape (...): representation bias, the largest deviation; NaN if none is defined."""
        return largest(self.deviation)

    @property
    def ab(self) -> np.ndarray:
        """Shape (...): association bias, the largest strength; NaN if none is defined."""
        return largest(self.strength.reshape(*self.strength.shape[:-2], -1))


def masses(contrasts: Sequence[Contrast], labels: Any, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mass inside and outside of each contrast, in all and with each label: twice shape (K, 1 + R).

    Parameters
    ----------
    contrasts : sequence of K Contrast
    labels : numpy.ndarray or scipy.sparse array, shape (n, R)
        1 where a row has the label.
    weight : numpy.ndarray, shape (n,)
        Total weight of each row or cell.
    """
    sides = [side for contrast in contrasts for side in (contrast.inside, contrast.outside)]
    mass = np.zeros((len(sides), 1 + labels.shape[1]))
    for start in range(0, len(weight), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        weighted = np.array([side[rows] for side in sides]) * weight[rows]
        mass[:, 0] += weighted.sum(axis=1)
        mass[:, 1:] += (labels[rows].T @ weighted.T).T
    return mass[0::2], mass[1::2]


def bias_of_masses(
    inside: np.ndarray, outside: np.ndarray, target: np.ndarray, counted: np.ndarray | None = None
) -> Bias:
    """Bias from the masses of contrasts (M4, section 2).

    Parameters
    ----------
    inside, outside : numpy.ndarray, shape (..., K, 1 + R)
        As `masses` returns them.
    target : numpy.ndarray, shape (K,)
    counted : numpy.ndarray, shape (K,), bool, optional
        Default: all contrasts count.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share, association = shares_and_associations(inside, outside)
    return Bias(share, association, target, np.ones(len(target), bool) if counted is None else counted)


def shares_and_associations(inside: Any, outside: Any) -> tuple[Any, Any]:
    """Share of each group, (..., K), and associations, (..., K, R), of masses (..., K, 1 + R): arrays or tensors.

    NaN where there is no mass to divide by.
    """
    share = inside[..., 0] / (inside[..., 0] + outside[..., 0])
    return share, inside[..., 1:] / inside[..., :1] - outside[..., 1:] / outside[..., :1]


def largest(values: np.ndarray) -> np.ndarray:
    """Largest finite value along the last axis; NaN where there is none."""
    usable = np.where(np.isfinite(values), values, -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(np.isfinite(usable), usable, np.nan)[()]


def model_rb(means: np.ndarray, target: np.ndarray | float) -> np.ndarray:
    """Representation bias of a model: largest distance of its mean prediction from the target shares.

    Parameters
    ----------
    means : numpy.ndarray, shape (..., V)
        Mean zero-shot prediction over images, for the V values of an attribute.
    target : numpy.ndarray of shape (V,), or float
        Target shares.

    Returns
    -------
    numpy.ndarray, shape (...)
        In [0, 1].
    """
    return largest(np.abs(means - target))


def model_associations(means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean prediction of each group less that of all other groups: the signed associations that AB is made of.

    Parameters
    ----------
    means : numpy.ndarray, shape (..., n_groups, n_labels)
        Mean zero-shot prediction of each label over the images of each group.
    sizes : numpy.ndarray, shape (n_groups,), int
        Images of each group.

    Returns
    -------
    numpy.ndarray, shape (..., n_contrasts, n_labels)
        Two groups have one contrast, the first against the second.
    """
    sums = means * sizes[:, None]
    rest = (sums.sum(axis=-2, keepdims=True) - sums) / (sizes.sum() - sizes)[:, None]
    return (means - rest)[..., : 1 if len(sizes) == 2 else None, :]
