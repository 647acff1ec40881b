"""Options of adaptive hard negative mining."""

from typing import Annotated

from pydantic import AfterValidator, Field

from evenclip.options import Options

Share = Annotated[float, Field(ge=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0)]


def _ordered(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] >= band[1]:
        raise ValueError(f"the band [{band[0]:g}, {band[1]:g}] is empty: write [LOW, HIGH]")
    return band


Band = Annotated[tuple[Share, Share], AfterValidator(_ordered)]


class AhnmOptions(Options):
    """Which negatives count, and how much, as the training goes on."""

    band_start: Band = (0.0, 1.0)
    """Difficulties that are mined at the start: percentiles of similarity among an anchor's candidates, 1 = hardest."""
    band_end: Band = (0.0, 1.0)
    """Difficulties that are mined at the end; between, the band moves with the training's clock."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Mined negatives of an anchor: the hardest of the band; null = all of it."""
    sharpness_start: AtLeastZero = 0.0
    """How much more harder negatives weigh, at the start (beta): 0 = all alike."""
    sharpness_end: AtLeastZero = 0.5
    """How much more harder negatives weigh, at the end; 1 = in proportion to their share of the softmax."""
    strength_start: Share = 0.0
    """Share of an anchor's weight that its mined negatives have, at the start; all others share the rest evenly."""
    strength_end: Share = 1.0
    """The same at the end. A model that has learnt nothing and sees hard negatives alone never learns."""
    focus: AtLeastZero = 2.0
    """Power of (1 - p) that shrinks the weight of negatives which the model is sure of (p near 1)."""
    max_weight: Annotated[float, Field(ge=1)] = 10.0
    """A weight is at most so many times, and at least one so-many-th of, the anchor's geometric mean."""
    queue: Annotated[int, Field(ge=0)] = 0
    """Texts of past batches that are candidates too; for towers that change slowly. A model that starts untrained tells
    them from the batch's by their age, and learns nothing else."""
    graph_texts: Share = 1.0
    """Share of the batch's pairs whose false captions, written by `evenclip graph`, are candidates too."""
    fair: bool = True
    """Among what is mined each perceived group keeps the share that it has in the batch (needs a labels table)."""
