"""Scene triples from the captions of a data folder, in the form of Visual Genome's scene graphs.

A thing that the captions of a picture name is an entity of its own with the whole picture, an image of the term that is
its name. All captions of a picture speak of the same thing where they use the same name, be it in the plural.
"""

from pathlib import Path

from evenclip.data.shards import read_pairs
from evenclip.graph.captions.parser import parse_caption
from evenclip.graph.linking import singular
from evenclip.graph.tables import HAS_ATTRIBUTE, IMAGE_OF, Graph


def read_caption_triples(data: Path, graph: Graph) -> None:
    """Add what the captions of a data folder say."""
    table = read_pairs(data, ["key", "captions"])
    keys, captions = table.column("key").to_pylist(), table.column("captions").to_pylist()
    parsed = [[parse_caption(caption) for caption in texts] for texts in captions]
    known = {mention.name for parses in parsed for parse in parses for mention in parse.mentions}
    for key, parses in zip(keys, parsed, strict=True):
        for parse in parses:
            things = [
                _thing(graph, key, singular(mention.name, known)) if mention.is_shown else None
                for mention in parse.mentions
            ]
            for mention, thing in zip(parse.mentions, things, strict=True):
                for word, _ in mention.attributes if thing is not None else ():
                    graph.triple(thing, HAS_ATTRIBUTE, graph.entity(f"caption:word {word}", word))
            for each in parse.links:
                if things[each.subject] != things[each.object]:
                    graph.triple(things[each.subject], each.relation, things[each.object])


def _thing(graph: Graph, key: str, name: str) -> int:
    thing = graph.entity(f"caption:{key}/{name}", name, key, kind="thing")
    graph.triple(thing, IMAGE_OF, graph.entity(f"caption:word {name}", name))
    return thing
