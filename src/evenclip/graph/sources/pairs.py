"""Image-text pairs of a data folder: a picture "is an image of" its caption, which "is a caption of" the picture.

Both triples state the same fact, so captions of a picture get them alternately. Captions that differ only in case and
white space are one entity.
"""

from pathlib import Path

from evenclip.data.shards import read_pairs
from evenclip.graph.sources.base import SourceContext
from evenclip.graph.tables import CAPTION_OF, IMAGE_OF, Graph

DESCRIPTION = 'a data folder: pictures and captions, linked by "is an image of" and "is a caption of" alternately'
READS_DATA_FOLDER = True


def read(path: Path, graph: Graph, context: SourceContext) -> None:
    """Add the pairs of a data folder."""
    table = read_pairs(path, ["key", "captions"])
    for key, captions in zip(table.column("key").to_pylist(), table.column("captions").to_pylist(), strict=True):
        picture = graph.entity(f"picture:{key}", "", key, kind="thing")
        for number, caption in enumerate(captions):
            text = " ".join(caption.split())
            described = graph.entity(f"caption:{text.lower()}", text, kind="thing")
            if number % 2:
                graph.triple(described, CAPTION_OF, picture)
            else:
                graph.triple(picture, IMAGE_OF, described)
