"""The training methods, and how they become the parts of one training.

Each module or sub-package here is one method: its name is that of its block in `evenclip.train.options.TrainOptions`,
and its ``build(context, options)`` returns the parts that it contributes. `evenclip.train.plugin` says how to add one.
"""

from typing import Any

import numpy as np

from evenclip.errors import InputError
from evenclip.plugins import modules_of
from evenclip.train.batches import Batches, WeightedBatches
from evenclip.train.group_labels import BiasLoggingBatches
from evenclip.train.known_positives import MaskedPositives
from evenclip.train.method_options import INPUTS
from evenclip.train.plugin import BatchMaker, MethodContext, MethodParts, Parts

SHARED_BY_NONE = {
    "make_batches": "the way batches are dealt",
    "arrange_batches": "the order of batches",
    "augmentation": "the augmentation",
    "negatives": "the negatives",
}
"""Parts of which a training has one at most, in words."""


def make_parts(context: MethodContext) -> Parts:
    """Build the parts of a training from the methods that are switched on.

    Raises
    ------
    InputError
        A method lacks an input that it needs, or two methods replace the same part.
    """
    methods = _build_methods(context)
    make_batches = _only(methods, "make_batches") or _plain_batches(context)
    arrange_batches = _only(methods, "arrange_batches")
    if arrange_batches:
        batches = arrange_batches(make_batches)
    else:
        batches = make_batches(context.pairs.copies, context.clock.n_steps)
    masked = MaskedPositives(context) if context.options.mask_true and not _owners(methods, "negatives") else None
    return Parts(
        batches=BiasLoggingBatches(batches, context.group_labels) if context.group_labels else batches,
        augmentation=_only(methods, "augmentation"),
        negatives=_only(methods, "negatives") or masked,
        terms=[term for parts in methods.values() for term in parts.terms],
    )


def _build_methods(context: MethodContext) -> dict[str, MethodParts]:
    modules, methods = modules_of(__name__), {}
    for name, options in context.options.methods().items():
        for needed in sorted(options.needs):
            if getattr(context, needed) is None:
                raise InputError(f"{name} needs {INPUTS[needed]}", f"train.{name}", f"give it with --{needed}")
        methods[name] = modules[name].build(context, options)
    return methods


def _owners(methods: dict[str, MethodParts], part: str) -> list[str]:
    return [name for name, parts in methods.items() if getattr(parts, part) is not None]


def _only(methods: dict[str, MethodParts], part: str) -> Any:
    """The one contribution to a part that cannot be shared; None if no method contributes to it."""
    owners = _owners(methods, part)
    if len(owners) > 1:
        what = f"{' and '.join(owners)} both replace {SHARED_BY_NONE[part]}"
        raise InputError(what, "train", "switch one of them off")
    return getattr(methods[owners[0]], part) if owners else None


def _plain_batches(context: MethodContext) -> BatchMaker:
    def make(copies: np.ndarray, end: int) -> Batches:
        return WeightedBatches(copies, context.options.batch_size, context.seed, context.pairs.twins)

    return make
