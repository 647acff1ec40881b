"""Options and metric of link prediction by a trained model."""

from typing import Annotated, Literal

from pydantic import Field

from evenclip.evaluate.measurement import Definition
from evenclip.options import Count, Options, Threads

SOURCE = "Bordes et al. 2013; ties as Berrendorf et al. 2020"
DEFINITIONS = (
    Definition(
        "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}",
        "how high the hidden end of a held-out triple ranks among all texts, or all pictures and regions; filtered",
        "mean of 1 / rank; share with rank <= k", "[0, 1]", "that of random ranks", SOURCE,
    ),
    Definition(
        "link_prediction/{shown}_to_{asked}_{mrr or hits_at_k}_counting",
        "the same by how often each answer stands with the relation in the training split, ties broken at random",
        "mean of 1 / rank; share with rank <= k", "[0, 1]", "that of random ranks", SOURCE,
    ),
)  # fmt: skip


class LinkOptions(Options):
    """Questions to the multi-modal encoder, which is frozen."""

    split: Literal["valid", "test"] = "test"
    """Split of the triples asked for."""
    triples: Count = 2000
    """Largest number of triples, drawn at random, for each way to show them; both head and tail are asked for."""
    pictures: Count = 5000
    """Largest number of pictures, drawn at random; these and their regions are the images that can be answers."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Kinds with fewer questions are not reported."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device if there is one."""
    threads: Threads = 1
    """CPU threads."""
