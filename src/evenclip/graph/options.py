"""Options of the graph stage."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class GraphOptions(Options):
    """How the sources of a graph are read, merged and split."""

    language: str = "en"
    """Language code of ConceptNet's terms and VisualSem's glosses."""
    max_malformed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of malformed records in a source; more is an error."""
    hops: Annotated[int, Field(ge=0)] | None = None
    """Keep triples within this many hops of the captions' vocabulary; 0 = both ends are in it, null = keep all."""
    valid_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples in the split valid; fewer where train would lose an entity or relation."""
    test_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples in the split test, likewise."""
    negatives_per_caption: Annotated[int, Field(ge=0)] = 3
    """Largest number of false variants of a caption; only pictures with a scene graph, to check them with, get any."""
