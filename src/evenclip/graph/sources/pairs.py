"""The image-text pairs of a data folder as triples: a picture "is an image of" its caption, which "is a caption of" it.

Both say the same, so they take turns over a picture's captions. Equal captions, but for case and spaces, are one text.
"""

from pathlib import Path

from evenclip.data.shards import read_pairs
from evenclip.graph.tables import CAPTION_OF, IMAGE_OF, Graph


def read_pair_triples(data: Path, graph: Graph) -> None:
    """Add the pairs of a data folder."""
    table = read_pairs(data, ["key", "captions"])
    for key, captions in zip(table.column("key").to_pylist(), table.column("captions").to_pylist(), strict=True):
        picture = graph.entity(f"picture:{key}", "", key, kind="thing")
        for turn, caption in enumerate(captions):
            text = " ".join(caption.split())
            described = graph.entity(f"caption:{text.lower()}", text, kind="thing")
            if turn % 2:
                graph.triple(described, CAPTION_OF, picture)
            else:
                graph.triple(picture, IMAGE_OF, described)
