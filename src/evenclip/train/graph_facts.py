"""What the knowledge graph knows of the training pairs: which pictures show the same, and false captions.

Reads `entities.parquet`, `triples.parquet` and, where it is there, `negatives.parquet` of `evenclip graph`.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.records import read_table


def picture_kinds(graph: Path, keys: np.ndarray) -> np.ndarray:
    """Pairs whose pictures show the same, by the graph: the same entities in the same triples.

    Returns
    -------
    ndarray of shape (n,), int
        Equal numbers for pairs of which the graph says the same, by its words; -1 where it says nothing.
    """
    entities = read_table(graph / "entities.parquet", ["id", "text", "image_key"])
    text = dict(zip(entities["id"].to_pylist(), entities["text"].to_pylist(), strict=True))
    shown = entities.filter(pc.is_in(entities["image_key"], value_set=pa.array(keys, pa.string())))
    picture = {row["id"]: row["image_key"] for row in shown.to_pylist() if row["text"]}
    said: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for entity, key in picture.items():
        said[key].add((text[entity],))
    triples = read_table(graph / "triples.parquet", ["head", "relation", "tail"])
    triples = triples.filter(pc.is_in(triples["head"], value_set=pa.array(picture, pa.string())))
    for head, relation, tail in zip(*(triples[name].to_pylist() for name in triples.column_names), strict=True):
        said[picture[head]].add((text[head], relation, text[tail]))
    number: dict[frozenset, int] = {}
    return np.array([number.setdefault(frozenset(said[key]), len(number)) if key in said else -1 for key in keys])


def false_captions(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The pair, by its row in ``keys``, and the text of each false caption of these pairs that the graph has."""
    path = graph / "negatives.parquet"
    if not path.is_file():
        return np.zeros(0, np.int64), []
    table = read_table(path, ["key", "text"])
    rows = pc.index_in(table["key"], value_set=pa.array(keys, pa.string()))
    table = table.append_column("row", rows).filter(pc.is_valid(rows)).sort_by("row")
    return table["row"].to_numpy().astype(np.int64), table["text"].to_pylist()
