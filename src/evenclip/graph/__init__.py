"""The knowledge graph: triples of entities that are text, image, or both.

Reads the official files of ConceptNet, WordNet, MKG, Visual Genome and VisualSem, and the captions and pairs of a data
folder; writes triples, entities, relations as tables. Command: `evenclip graph --source FORMAT=PATH ... --out DIR`.
"""

from evenclip.graph.build import build_graph
from evenclip.graph.options import GraphOptions
from evenclip.graph.sources import Format, GraphSource

__all__ = ["Format", "GraphOptions", "GraphSource", "build_graph"]
