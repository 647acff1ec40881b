"""The knowledge graph: triples of entities that are text, image, or both.

Reads the official files of ConceptNet, WordNet, MKG, Visual Genome and VisualSem; writes triples, entities, relations
as tables. Command: `evenclip graph --source FORMAT=PATH ... --out DIR`.
"""

from evenclip.graph.build import GraphOptions, GraphSource, build_graph

__all__ = ["GraphOptions", "GraphSource", "build_graph"]
