"""Options of SimCLIP batches."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.options import Options


class SimClipOptions(Options):
    """Batches that are partly made of clusters of similar pairs; `mask_true` goes well with them."""

    cluster_size: Annotated[int, Field(ge=2)] = 16
    """Pairs in a cluster: a pivot and its neighbours."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a batch that is made of clusters; the rest is as without SimCLIP."""
    neighbourhood: Annotated[int, Field(ge=1)] = 1
    """A pivot's neighbours are drawn from its `cluster_size * neighbourhood` nearest."""
    modality: Literal["text", "image"] = "text"
    """What is similar; pairs with equal captions are one neighbour."""
    online: bool = True
    """Embed anew in the middle of each epoch, for the next one; false: once, before the first batch."""
    doublings: Annotated[int, Field(ge=0)] = 0
    """Warm-up: how often `share` doubles, at equal distances, before it is full; 0 = full from the start."""
