"""A knowledge graph about the coloured squares of `tiny_training`: their colours, and colours among each other."""

from pathlib import Path

import pyarrow as pa

from evenclip.provenance import Manifest
from evenclip.tables import write_table
from support.tiny_training import COLORS, PX

SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("modality", pa.string()), ("image_key", pa.string()),
     ("box", pa.list_(pa.int32()))]
)  # fmt: skip


def write_graph(folder: Path, n: int) -> Path:
    """Of each of ``n`` squares a region that `has` its colour and lies `in` a picture; a colour `is not` another."""
    folder.mkdir(parents=True)
    names = list(COLORS)
    entities = [{"id": f"color:{name}", "text": name, "modality": "text"} for name in names]
    triples = [(f"color:{a}", "is_not", f"color:{b}") for a in names for b in names if a < b]
    for i in range(n):
        key = f"{i:05d}"
        region, picture = f"region:{i}", f"picture:{i}"
        entities.append({"id": region, "text": "square", "modality": "both", "image_key": key, "box": [0, 0, 16, PX]})
        entities.append({"id": picture, "text": "", "modality": "image", "image_key": key, "box": None})
        triples += [(region, "has", f"color:{names[i % len(names)]}"), (region, "in", picture)]
    relations = [{"id": name, "name": name, "text": name.replace("_", " ")} for name in ("is_not", "has", "in")]
    columns = dict(zip(("head", "relation", "tail"), zip(*triples, strict=True), strict=True))
    split = ["train"] * (len(triples) - 1) + ["test"]
    write_table(pa.table({**columns, "source": ["tiny"] * len(triples), "split": split}), folder / "triples.parquet")
    write_table(pa.Table.from_pylist(entities, schema=SCHEMA), folder / "entities.parquet")
    write_table(pa.Table.from_pylist(relations), folder / "relations.parquet")
    Manifest("graph", {}, {}).write(folder / "manifest.json")
    return folder
