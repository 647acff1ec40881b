"""What is known of the training pairs: what is true of their pictures, and false captions.

Reads `entities.parquet`, `relations.parquet`, `triples.parquet` and, where it is there, `negatives.parquet` of
`evenclip graph`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.records import read_table
from evenclip.train.setting import Setting
from evenclip.train.true_captions import SILENT, TrueCaptions


def known_truth(setting: Setting, captions: torch.Tensor) -> TrueCaptions:
    """Which of ``captions``, tokens of shape (m, context), are true of which pairs' pictures.

    Known of a picture are its own captions and, where there is a graph, what that says of it.
    """
    pairs, tokenizer = setting.pairs, setting.clip.tokenizer
    facts, pictures, number = pairs.tokens, np.repeat(np.arange(len(pairs.keys)), np.diff(pairs.starts)), pairs.captions
    if setting.graph:
        of_graph, texts = facts_of_pictures(setting.graph, pairs.keys)
        if texts:
            distinct, which = np.unique(texts, return_inverse=True)
            pictures, number = np.append(pictures, of_graph), np.append(number, len(facts) + which)
            facts = torch.cat([facts, tokenizer(distinct.tolist())])
    return TrueCaptions(captions, facts, (pictures, number), len(pairs.keys), tokenizer(SILENT), setting.device)


def facts_of_pictures(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What the graph says of the pictures ``keys``: the names of what they show, and of its relations and their tails.

    Returns
    -------
    tuple
        The picture of each fact, by its row in ``keys``, shape (f,), and its text.
    """
    entities = read_table(graph / "entities.parquet", ["id", "text", "image_key"])
    text = dict(zip(entities["id"].to_pylist(), entities["text"].to_pylist(), strict=True))
    row = {key: number for number, key in enumerate(keys)}
    shown = zip(entities["id"].to_pylist(), entities["image_key"].to_pylist(), strict=True)
    picture = {entity: row[key] for entity, key in shown if key in row}
    relations = read_table(graph / "relations.parquet", ["id", "text"])
    named = dict(zip(relations["id"].to_pylist(), relations["text"].to_pylist(), strict=True))
    said = {(number, text[entity]) for entity, number in picture.items()}
    triples = read_table(graph / "triples.parquet", ["head", "relation", "tail"])
    triples = triples.filter(pc.is_in(triples["head"], value_set=pa.array(picture, pa.string())))
    for head, relation, tail in zip(*(triples[name].to_pylist() for name in triples.column_names), strict=True):
        said |= {(picture[head], named[relation]), (picture[head], text[tail])}
    facts = sorted((number, fact) for number, fact in said if fact)
    return np.array([number for number, _ in facts], np.int64), [fact for _, fact in facts]


def false_captions(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The pair, by its row in ``keys``, and the text of each false caption of these pairs that the graph has."""
    path = graph / "negatives.parquet"
    if not path.is_file():
        return np.zeros(0, np.int64), []
    table = read_table(path, ["key", "text"])
    rows = pc.index_in(table["key"], value_set=pa.array(keys, pa.string()))
    table = table.append_column("row", rows).filter(pc.is_valid(rows)).sort_by("row")
    return table["row"].to_numpy().astype(np.int64), table["text"].to_pylist()
