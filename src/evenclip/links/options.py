"""Options and metric definitions of link prediction."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.evaluate.measurement import Definition
from evenclip.options import Count, Options, Threads

SOURCE = "Bordes et al. 2013; ties as Berrendorf et al. 2020"
DEFINITIONS = (
    Definition(
        "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}",
        "filtered rank of the hidden end of a held-out triple among all texts, or among all pictures and regions",
        "mean of 1 / rank; share with rank <= k", "[0, 1]", "expectation for random ranks", SOURCE,
    ),
    Definition(
        "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}_counting",
        "the same for a baseline that ranks answers by their frequency with the relation in the training split",
        "mean of 1 / rank; share with rank <= k", "[0, 1]", "expectation for random ranks", SOURCE,
    ),
)  # fmt: skip


class LinkOptions(Options):
    """Options of link prediction by the frozen multi-modal encoder."""

    split: Literal["valid", "test"] = "test"
    """Split of the triples to predict."""
    triples: Count = 2000
    """Largest number of triples for each combination of text and image ends, drawn at random. Both the head and the
    tail of each are predicted."""
    pictures: Count = 5000
    """Largest number of pictures, drawn at random. They and their regions are the candidate images."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Number of bootstrap resamples for each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Smallest number of questions for a value; kinds with fewer are marked "insufficient"."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device if available, else the CPU."""
    threads: Threads = 1
    """Number of CPU threads."""
