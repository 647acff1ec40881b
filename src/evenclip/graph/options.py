"""Options of the graph stage."""

from typing import Annotated

from pydantic import Field

from evenclip.options import Options


class GraphOptions(Options):
    """Options for building the knowledge graph from its sources."""

    language: str = "en"
    """Language code of ConceptNet's terms and VisualSem's glosses."""
    max_malformed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest allowed share of malformed records in a source; a larger share is an error."""
    hops: Annotated[int, Field(ge=0)] | None = None
    """Keep triples within this many hops of words in the captions; 0 = both ends are such words, null = keep all."""
    valid_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples in the validation split. Smaller if train would otherwise lose an entity or relation."""
    test_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the triples in the test split, with the same exception."""
    negatives_per_caption: Annotated[int, Field(ge=0)] = 3
    """Largest number of false variants of a caption. Only captions of pictures with a scene graph get any."""
