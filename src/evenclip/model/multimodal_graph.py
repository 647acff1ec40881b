"""Multi-modal knowledge graph: triples of entities that are given to a model as text or as image.

Reads the folder of `evenclip graph` and the sizes of the images.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.data.shards import read_pairs
from evenclip.errors import InputError
from evenclip.model.tokens import WHOLE, boxes_in_view
from evenclip.tables import read_table


@dataclass(frozen=True)
class MultiModalGraph:
    """n triples of E entities and R relations, with their m different texts and the images of the entities.

    ``head``, ``relation``, ``tail``, shape (n,); ``split``, (n,), str; ``entity_text``, (E,): row of ``texts``, -1 =
    none; ``entity_pair``, (E,): the pair whose image shows the entity, -1 = none of the given pairs; ``boxes``, (E, 4):
    where in that image; ``looks_like``, (E,): the first entity with the same image and box, or the entity itself;
    ``is_particular``, (E,): a region or image instead of a concept, so that its triples are true of that image only;
    ``relation_text``, (R,).
    """

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    split: np.ndarray
    entity_text: np.ndarray
    entity_pair: np.ndarray
    boxes: np.ndarray
    looks_like: np.ndarray
    is_particular: np.ndarray
    relation_text: np.ndarray
    texts: list[str]
    relations: list[str]

    @property
    def n_contents(self) -> int:
        """Number of contents that can be shown: the texts, then the image of each entity (``len(texts) + entity``).

        Entities that look alike share the image of the first, because their images cannot be told apart.
        """
        return len(self.texts) + len(self.entity_text)

    def content(self, entity: np.ndarray, as_image: np.ndarray) -> np.ndarray:
        """The content that shows each entity: its image or its text."""
        return np.where(as_image, len(self.texts) + self.looks_like[entity], self.entity_text[entity])

    def of_split(self, split: str) -> Self:
        """The graph with the triples of one split only."""
        rows = self.split == split
        columns = {name: getattr(self, name)[rows] for name in ("head", "relation", "tail", "split")}
        return replace(self, **columns)


def read_multimodal_graph(
    folder: Path, keys: np.ndarray, data: Path, preprocess_cfg: dict[str, Any]
) -> MultiModalGraph:
    """Read a graph whose images are those of the pairs ``keys`` of ``data``.

    Raises
    ------
    InputError
        A table is missing or names something that the others lack.
    """
    triples = read_table(folder / "triples.parquet", ["head", "relation", "tail", "split"])
    entities = read_table(folder / "entities.parquet", ["id", "text", "image_key", "box"])
    relations = read_table(folder / "relations.parquet", ["id", "text"])
    texts = pc.unique(pa.chunked_array([*entities["text"].chunks, *relations["text"].chunks])).to_pylist()
    texts = pa.array(sorted(text for text in texts if text))
    pair = _numbers(entities["image_key"], pa.array(keys.tolist(), pa.string()))
    boxes = _boxes(entities, pair, keys, data, preprocess_cfg)
    pair[(boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])] = -1  # cropped away
    where = str(folder / "triples.parquet")
    entity_text = _numbers(entities["text"], texts)
    has_box = entities["box"].is_valid().to_numpy()
    return MultiModalGraph(
        head=_known(_numbers(triples["head"], entities["id"]), where, "head"),
        relation=_known(_numbers(triples["relation"], relations["id"]), where, "relation"),
        tail=_known(_numbers(triples["tail"], entities["id"]), where, "tail"),
        split=np.array(triples["split"].to_pylist(), dtype=str),
        entity_text=entity_text,
        entity_pair=pair,
        boxes=boxes,
        looks_like=_first_alike(pair, boxes),
        is_particular=has_box | (entity_text < 0),
        relation_text=_known(_numbers(relations["text"], texts), str(folder / "relations.parquet"), "text"),
        texts=texts.to_pylist(),
        relations=relations["id"].to_pylist(),
    )


class KnownTriples:
    """Which triples are known to be true, by the contents of head and tail: a text stands for all its entities."""

    def __init__(self, graph: MultiModalGraph):
        self._graph = graph
        combinations = [
            self._codes(graph.content(graph.head, head), graph.relation, graph.content(graph.tail, tail))
            for head in self._shown(graph.head)
            for tail in self._shown(graph.tail)
        ]
        self._sorted = np.unique(np.concatenate(combinations))
        self._sorted = self._sorted[self._sorted >= 0]

    def holds(self, head: np.ndarray, relation: np.ndarray, tail: np.ndarray) -> np.ndarray:
        """Whether each triple (content, relation, content) is known to be true; shapes are broadcast."""
        code = self._codes(head, relation, tail)
        index = np.minimum(np.searchsorted(self._sorted, code), len(self._sorted) - 1)
        return self._sorted[index] == code

    def _shown(self, entity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(entity), bool), np.ones(len(entity), bool)

    def _codes(self, head: np.ndarray, relation: np.ndarray, tail: np.ndarray) -> np.ndarray:
        n_relations, n_contents = len(self._graph.relations), self._graph.n_contents
        code = (head.astype(np.int64) * n_relations + relation) * n_contents + tail
        return np.where((head < 0) | (tail < 0), -1, code)  # an entity without text has none to show


def _numbers(values: pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Position of each value in ``among``, -1 if it is missing."""
    index = pc.index_in(values, value_set=among)
    return index.fill_null(-1).to_numpy().astype(np.int64)


def _known(numbers: np.ndarray, where: str, column: str) -> np.ndarray:
    if (numbers < 0).any():
        row = int(np.argmin(numbers))
        raise InputError(
            "refers to an entry that the graph's other tables lack", f"{where}, {column}, row {row}", "build it again"
        )
    return numbers


def _first_alike(pair: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    first = np.arange(len(pair))
    rows = np.flatnonzero(pair >= 0)
    if len(rows):
        look = np.column_stack([pair[rows], boxes[rows]])
        _, index, inverse = np.unique(look, axis=0, return_index=True, return_inverse=True)
        first[rows] = rows[index][inverse.ravel()]
    return first


def _boxes(entities: pa.Table, pair: np.ndarray, keys: np.ndarray, data: Path, preprocess_cfg: dict) -> np.ndarray:
    """The box of each entity in its image, in shares of the model's view, shape (E, 4)."""
    boxes = np.tile(np.array(WHOLE, np.float32), (len(pair), 1))
    rows = np.flatnonzero(entities["box"].is_valid().to_numpy() & (pair >= 0))
    if len(rows):
        sizes = read_pairs(data, ["key", "width", "height"])
        row = _numbers(pa.chunked_array([pa.array(keys[pair[rows]].tolist())]), sizes["key"])
        width, height = (sizes[name].to_numpy()[row] for name in ("width", "height"))
        given = np.stack(entities["box"].take(pa.array(rows)).to_pylist()).astype(float)
        boxes[rows] = boxes_in_view(given, width, height, preprocess_cfg)
    return boxes
