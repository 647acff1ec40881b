"""Scene triples from the captions of a data folder, in the form of Visual Genome's scene graphs.

Each object mentioned by a picture's captions is one entity. Its image is the whole picture, and it "is an image of" the
term that names it. Captions of one picture that use the same noun, singular or plural, mention the same object.
"""

from pathlib import Path

from evenclip.data.shards import read_pairs
from evenclip.graph.captions.parser import parse_caption
from evenclip.graph.linking import singular
from evenclip.graph.sources.base import SourceContext
from evenclip.graph.tables import HAS_ATTRIBUTE, IMAGE_OF, Graph

DESCRIPTION = "a data folder: objects mentioned by captions, each with its picture; attributes as text"
READS_DATA_FOLDER = True


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the scene triples of a data folder's captions."""
    table = read_pairs(path, ["key", "captions"])
    keys, captions = table.column("key").to_pylist(), table.column("captions").to_pylist()
    parsed = [[parse_caption(caption) for caption in texts] for texts in captions]
    names = {mention.name for parses in parsed for parse in parses for mention in parse.mentions}
    for key, parses in zip(keys, parsed, strict=True):
        for parse in parses:
            objects = [
                _add_object(graph, key, singular(mention.name, names)) if mention.is_shown else None
                for mention in parse.mentions
            ]
            for mention, number in zip(parse.mentions, objects, strict=True):
                for word, _ in mention.attributes if number is not None else ():
                    graph.triple(number, HAS_ATTRIBUTE, graph.entity(f"caption:word {word}", word))
            for link in parse.links:
                if objects[link.subject] != objects[link.object]:
                    graph.triple(objects[link.subject], link.relation, objects[link.object])


def _add_object(graph: Graph, key: str, name: str) -> int:
    number = graph.entity(f"caption:{key}/{name}", name, key, kind="thing")
    graph.triple(number, IMAGE_OF, graph.entity(f"caption:word {name}", name))
    return number
