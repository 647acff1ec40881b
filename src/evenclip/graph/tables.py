"""Tables of a knowledge graph, its vocabulary of relations, and the graph under construction."""

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
"""Relations between mutually exclusive terms."""

_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/]+")


def in_words(name: str) -> str:
    """Words of a relation's name: AtLocation -> at location, _has_part -> has part, is-a -> is a."""
    return " ".join(_WORD_STARTS.sub(" ", name).lower().split())


def text_of(name: str) -> str:
    """Text of a relation, for readers and text encoders: AtLocation -> is located at."""
    words = in_words(name)
    return _table()[0].get(words, words)


def inverse_of(text: str) -> str | None:
    """Text of the inverse relation; None if the vocabulary has none."""
    return _table()[1].get(text)


@cache
def _table() -> tuple[dict[str, str], dict[str, str]]:
    with open(Path(__file__).with_name("relations.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["name"]: row["text"] for row in rows}, {row["text"]: row["inverse"] for row in rows if row["inverse"]}


BOX = pa.list_(
    pa.int32()
)  # x, y, w, h; a list of variable length, since Parquet does not restore nulls of fixed-length lists
TRIPLES_SCHEMA = pa.schema([(name, pa.string()) for name in ("head", "relation", "tail", "source", "split")])
ENTITIES_SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("modality", pa.string()), ("image_key", pa.string()), ("box", BOX)]
)
RELATIONS_SCHEMA = pa.schema([("id", pa.string()), ("name", pa.string()), ("text", pa.string())])

Box = tuple[int, int, int, int]
Kind = Literal["term", "sense", "thing"]


def modality(text: str, image_key: str | None) -> Literal["text", "image", "both"]:
    """Modality of an entity with this text and picture."""
    return "text" if image_key is None else "both" if text else "image"


@dataclass
class Entities:
    """Entities of all sources in reading order, one list per column.

    Attributes
    ----------
    ids, texts : list of str
        Ids begin with their source: "cn:dog".
    names : list of str
        Words by which an entity is linked with those of other sources.
    kinds : list of {"term", "sense", "thing"}
        A term is a word or phrase, a sense one meaning of it, a thing an individual such as a region of a picture.
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
    """Triples as row numbers of entities, relations and sources; arrays of shape (n,)."""

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    def where(self, rows: np.ndarray) -> "Triples":
        """Triples selected by a mask or by row numbers."""
        return Triples(self.head[rows], self.relation[rows], self.tail[rows], self.source[rows])


class Graph:
    """Graph under construction: entities and triples of all sources, not yet linked.

    Attributes
    ----------
    entities : Entities
    relations : list of (id, name, text)
        One per text, with the id and name from the first source that has it.
    counts : dict of str to Counter
        By source: the number of triples read, and of records left out by reason.
    malformed : list of str
        Location of the first malformed record of each source.
    """

    def __init__(self):
        self.entities = Entities()
        self.relations: list[tuple[str, str, str]] = []
        self.counts: dict[str, Counter] = {}
        self.malformed: list[str] = []
        self._source, self._source_number = "", 0
        self._numbers: dict[str, int] = {}
        self._relation_numbers: dict[str, int] = {}  # keyed by ids and texts, which never coincide
        self._columns = tuple(array("q") for _ in range(4))

    def begin(self, source: str) -> None:
        """Start a source; entities and triples added from now on belong to it."""
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
        """Add an entity if its id is new; return its number.

        Its image is the picture ``image_key``, or the region ``box`` of it. ``name`` holds the words by which it is
        linked (default: ``text``).
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
        """Add a triple from two entity numbers and the name of a relation."""
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
        """Count a record that is left out of the graph; ``where`` locates a malformed one."""
        if reason == "malformed" and not self.counts[self._source]["malformed"]:
            self.malformed.append(where)
        self.counts[self._source][reason] += 1

    def triples(self) -> Triples:
        """All triples in reading order."""
        return Triples(*(np.array(column, dtype=np.int64) for column in self._columns))
