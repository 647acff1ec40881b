"""Multi-modal knowledge graph: triples between entities that have a text, an image, or both.

Reads sources in the formats of `evenclip.graph.sources`; writes tables of triples, entities and relations.
Command: `evenclip graph --source FORMAT=PATH ... --out DIR`.
"""

from evenclip.graph.build import build_graph
from evenclip.graph.options import GraphOptions
from evenclip.graph.sources import Format, GraphSource

__all__ = ["Format", "GraphOptions", "GraphSource", "build_graph"]
