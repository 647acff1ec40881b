"""What is known of the training pairs: what is true of their pictures, and false captions.

Reads `entities.parquet`, `relations.parquet`, `triples.parquet` and, where it is there, `negatives.parquet` of
`evenclip graph`.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.records import read_table
from evenclip.train.setting import Setting
from evenclip.train.true_captions import SILENT, TrueCaptions

HAS_ATTRIBUTE = "has attribute"  # its name in relations.parquet (`evenclip.graph.relations`)


def known_truth(setting: Setting, captions: torch.Tensor) -> TrueCaptions:
    """Which of ``captions``, tokens of shape (m, context), are true of which pairs' pictures.

    Known of a picture are its own captions and, where there is a graph, what that says of it.
    """
    pairs, tokenizer = setting.pairs, setting.clip.tokenizer
    facts, pictures, number = pairs.tokens, np.repeat(np.arange(len(pairs.keys)), np.diff(pairs.starts)), pairs.captions
    if setting.graph:
        of_graph, texts = facts_of_pictures(setting.graph, pairs.keys)
        if texts:
            coded = pa.array(texts).dictionary_encode()
            pictures, number = np.append(pictures, of_graph), np.append(number, len(facts) + coded.indices.to_numpy())
            facts = torch.cat([facts, tokenizer(coded.dictionary.to_pylist())])
    return TrueCaptions(captions, facts, (pictures, number), len(pairs.keys), tokenizer(SILENT), setting.device)


def facts_of_pictures(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What the graph's training split says of the pictures ``keys``, in the words that a caption would use for it.

    Of each region its name, each attribute before the name, any attribute before any other, and its relations with
    other regions. Concepts are left out: what a dictionary says of a thing is not seen in the one picture that
    illustrates it.

    Returns
    -------
    tuple
        The picture of each fact, by its row in ``keys``, shape (f,), and its text.
    """
    entities = read_table(graph / "entities.parquet", ["id", "text", "image_key", "box"])
    row = {key: number for number, key in enumerate(keys)}
    regions = entities.filter(pc.and_(entities["box"].is_valid(), pc.is_in(entities["image_key"], pa.array(row))))
    picture = dict(zip(regions["id"].to_pylist(), map(row.get, regions["image_key"].to_pylist()), strict=True))
    text = dict(zip(entities["id"].to_pylist(), entities["text"].to_pylist(), strict=True))
    related, attributes = _seen(graph, picture, text)
    said = {(number, text[region]) for region, number in picture.items() if text[region]}
    for region, words in attributes.items():
        said |= {(picture[region], f"{first} {last}") for first in words for last in {*words, text[region]} - {first}}
    for head, relation, tail in related:
        said |= {(picture[head], f"{text[head]} {relation} {text[tail]}")}
        said |= {(picture[head], f"{relation} {word}") for word in attributes[tail]}
    facts = sorted(said)
    return np.array([number for number, _ in facts], np.int64), [fact for _, fact in facts]


def _seen(graph: Path, picture: dict[str, int], text: dict[str, str]) -> tuple[list[tuple], dict[str, set[str]]]:
    """Relations between named regions as (head, words, tail), and the attributes of each region."""
    relations = read_table(graph / "relations.parquet", ["id", "name", "text"]).to_pylist()
    named = {relation["id"]: relation["text"] for relation in relations}
    is_attribute = {relation["id"] for relation in relations if relation["name"] == HAS_ATTRIBUTE}
    triples = read_table(graph / "triples.parquet", ["head", "relation", "tail", "split"])
    of_regions = pc.is_in(triples["head"], value_set=pa.array(picture, pa.string()))
    triples = triples.filter(pc.and_(of_regions, pc.equal(triples["split"], "train")))
    related, attributes = [], defaultdict(set)
    columns = (triples[name].to_pylist() for name in ("head", "relation", "tail"))
    for head, relation, tail in zip(*columns, strict=True):
        if relation in is_attribute:
            attributes[head].add(text[tail])
        elif tail in picture and text[head] and text[tail]:
            related.append((head, named[relation], tail))
    return related, attributes


def false_captions(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The pair, by its row in ``keys``, and the text of each false caption of these pairs that the graph has."""
    path = graph / "negatives.parquet"
    if not path.is_file():
        return np.zeros(0, np.int64), []
    table = read_table(path, ["key", "text"])
    rows = pc.index_in(table["key"], value_set=pa.array(keys, pa.string()))
    table = table.append_column("row", rows).filter(pc.is_valid(rows)).sort_by("row")
    return table["row"].to_numpy().astype(np.int64), table["text"].to_pylist()
