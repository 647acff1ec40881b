"""Knowledge-CLIP: learning from the triples of a knowledge graph."""
