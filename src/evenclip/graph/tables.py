"""The tables of a knowledge graph, the vocabulary of relations, and what collects rows while a source is read."""

import csv
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

IMAGE_OF, CAPTION_OF = "is an image of", "is a caption of"
HAS_ATTRIBUTE = "has attribute"
IS_A = "is a"
OPPOSITES = ("is the opposite of", "is distinct from")
"""Texts of the relations between terms of which at most one holds."""

_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/]+")


def in_words(name: str) -> str:
    """A relation's name as words: AtLocation -> at location, _has_part -> has part, is-a -> is a."""
    return " ".join(_WORD_STARTS.sub(" ", name).lower().split())


def text_of(name: str) -> str:
    """The text of a relation, for people and for a text encoder: AtLocation -> is located at."""
    words = in_words(name)
    return _table()[0].get(words, words)


def inverse_of(text: str) -> str | None:
    """The text that says the same from the tail to the head; None where it is not known."""
    return _table()[1].get(text)


@cache
def _table() -> tuple[dict[str, str], dict[str, str]]:
    with open(Path(__file__).with_name("relations.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["name"]: row["text"] for row in rows}, {row["text"]: row["inverse"] for row in rows if row["inverse"]}


BOX = pa.list_(pa.int32())  # x, y, w, h; of fixed length, Parquet would not read nulls back
TRIPLES_SCHEMA = pa.schema([(name, pa.string()) for name in ("head", "relation", "tail", "source", "split")])
ENTITIES_SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("modality", pa.string()), ("image_key", pa.string()), ("box", BOX)]
)
RELATIONS_SCHEMA = pa.schema([("id", pa.string()), ("name", pa.string()), ("text", pa.string())])

Box = tuple[int, int, int, int]
Kind = Literal["term", "sense", "thing"]


def modality(text: str, image_key: str | None) -> Literal["text", "image", "both"]:
    """What an entity is, by what is known of it."""
    return "text" if image_key is None else "both" if text else "image"


@dataclass
class Entities:
    """What the sources say of their entities, in the order they are read; one list per column.

    Attributes
    ----------
    ids, texts : list of str
        The id says the source: "cn:dog".
    names : list of str
        The words by which an entity is linked with those of other sources.
    kinds : list of {"term", "sense", "thing"}
        A term is its words; a sense is one meaning of its words; a thing is one of its own, such as a picture's part.
    sources : list of str
    image_keys : list of str or None
    boxes : list of Box or None
    """

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    image_keys: list[str | None] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)


@dataclass(frozen=True)
class Triples:
    """Triples by number: arrays of shape (n,). Entities, relations and sources are rows of their own tables."""

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    def where(self, rows: np.ndarray) -> "Triples":
        """The triples of a mask or of row numbers."""
        return Triples(self.head[rows], self.relation[rows], self.tail[rows], self.source[rows])


class Graph:
    """Collects one graph from all its sources, as they write it: nothing is merged yet.

    Attributes
    ----------
    entities : Entities
    relations : list of (id, name, text)
        One for each text; the id and the name are those of the source that first has it.
    counts : dict of str to Counter
        For each source what was read: triples, and what was left out by reason.
    malformed : list of str
        Where the first malformed record of each source stands.
    """

    def __init__(self):
        self.entities = Entities()
        self.relations: list[tuple[str, str, str]] = []
        self.counts: dict[str, Counter] = {}
        self.malformed: list[str] = []
        self._source, self._source_number = "", 0
        self._numbers: dict[str, int] = {}
        self._relation_numbers: dict[str, int] = {}  # by id and by text, which are never the same
        self._columns = tuple(array("q") for _ in range(4))

    def begin(self, source: str) -> None:
        """What is added from now on comes from ``source``."""
        self.counts.setdefault(source, Counter(read=0))
        self._source, self._source_number = source, list(self.counts).index(source)

    def entity(
        self,
        id: str,
        text: str,
        image_key: str | None = None,
        box: Box | None = None,
        *,
        kind: Kind = "term",
        name: str | None = None,
    ) -> int:
        """Add an entity, if its id is new; return its number.

        Its picture is ``image_key``, or ``box`` in it; ``name`` are the words that it is linked by, if not ``text``.
        """
        number = self._numbers.get(id)
        if number is None:
            number = self._numbers[id] = len(self._numbers)
            entities = self.entities
            entities.ids.append(id)
            entities.texts.append(text)
            entities.names.append(text if name is None else name)
            entities.kinds.append(kind)
            entities.sources.append(self._source)
            entities.image_keys.append(image_key)
            entities.boxes.append(None if image_key is None else box)
        return number

    def triple(self, head: int, relation: str, tail: int) -> None:
        """Add a triple of two entities' numbers and a relation's name."""
        id = f"{self.entities.ids[head].partition(':')[0]}:{relation}"
        number = self._relation_numbers.get(id)
        if number is None:
            number = self._relation_numbers[id] = self._relation(id, relation)
        for column, value in zip(self._columns, (head, number, tail, self._source_number), strict=True):
            column.append(value)
        self.counts[self._source]["read"] += 1

    def _relation(self, id: str, name: str) -> int:
        text = text_of(name)
        number = self._relation_numbers.setdefault(text, len(self.relations))
        if number == len(self.relations):
            self.relations.append((id, name, text))
        return number

    def leave_out(self, reason: str, where: str = "") -> None:
        """Count a record that does not enter the graph."""
        if reason == "malformed" and not self.counts[self._source]["malformed"]:
            self.malformed.append(where)
        self.counts[self._source][reason] += 1

    def triples(self) -> Triples:
        """All triples as they were read."""
        return Triples(*(np.array(column, dtype=np.int64) for column in self._columns))
