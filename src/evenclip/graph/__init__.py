"""Multi-modal knowledge graph: triples between entities that have a text, an image, or both.

Reads sources in the formats of `evenclip.graph.sources`; writes tables of triples, entities and relations.
Command: `evenclip graph --source FORMAT=PATH ... --out DIR`.
"""

from typing import TYPE_CHECKING

from evenclip.graph.options import GraphOptions
from evenclip.graph.sources import Format, GraphSource
from evenclip.late_names import late_names

if TYPE_CHECKING:
    from evenclip.graph.build import build_graph

__all__ = ["Format", "GraphOptions", "GraphSource", "build_graph"]

__getattr__ = late_names(__name__, build_graph="build")
