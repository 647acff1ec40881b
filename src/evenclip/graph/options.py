"""Options of the graph stage."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class GraphOptions(Options):
    """How the sources of a graph are read, merged and split."""

    language: str = "en"
    """Language of ConceptNet's terms and of VisualSem's glosses, as these write it."""
    max_malformed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """More malformed records of a source than this share is an error."""
    hops: Annotated[int, Field(ge=0)] | None = None
    """Keep what is within so many hops of the captions' vocabulary: 0 = both ends are in it; null = everything."""
    valid_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples that validate; fewer where every entity must stay in train."""
    test_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples that test."""
    negatives_per_caption: Annotated[int, Field(ge=0)] = 3
    """At most so many false variants of each caption are written, where there is a scene graph to check them with."""
