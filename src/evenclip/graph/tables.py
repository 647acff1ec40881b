"""The tables of a knowledge graph, and what collects their rows while a source is read."""

import re
from collections import Counter
from typing import Any

import pyarrow as pa

BOX = pa.list_(pa.int32())  # x, y, w, h; of fixed length, Parquet would not read nulls back
TRIPLES_SCHEMA = pa.schema([(name, pa.string()) for name in ("head", "relation", "tail", "source")])
ENTITIES_SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("modality", pa.string()), ("image_key", pa.string()), ("box", BOX)]
)
RELATIONS_SCHEMA = pa.schema([("id", pa.string()), ("name", pa.string()), ("text", pa.string())])
CHUNK = 100_000  # rows held as Python objects
NUMBER_BITS = 32  # entities are fewer than 4 thousand million
_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/]+")

Box = tuple[int, int, int, int]


class Graph:
    """Collects one graph from all its sources; ids are the caller's and say the source, as "cn:dog".

    Attributes
    ----------
    counts : dict of str to Counter
        For each source what was read: triples, duplicates, and what was left out by reason.
    malformed : list of str
        Where the first malformed record of each source stands.
    """

    def __init__(self):
        self.counts: dict[str, Counter] = {}
        self.malformed: list[str] = []
        self._source = ""
        self._triples, self._entities = _Rows(TRIPLES_SCHEMA), _Rows(ENTITIES_SCHEMA)
        self._relations = _Rows(RELATIONS_SCHEMA)
        self._entity_numbers: dict[str, int] = {}
        self._relation_numbers: dict[str, int] = {}
        self._seen: set[int] = set()  # triples by number: a third of what tuples of names would take

    def begin(self, source: str) -> None:
        """What is added from now on comes from ``source``."""
        self._source = source
        self.counts.setdefault(source, Counter(triples=0))

    def entity(self, id: str, text: str, image_key: str | None = None, box: Box | None = None) -> str:
        """Add an entity, if its id is new, and return the id; its picture is ``image_key``, or ``box`` in it."""
        if id not in self._entity_numbers:
            self._entity_numbers[id] = len(self._entity_numbers)
            modality = "text" if image_key is None else "both" if text else "image"
            self._entities.add((id, text, modality, image_key, None if image_key is None else box))
        return id

    def triple(self, head: str, relation: str, tail: str) -> None:
        """Add a triple of entities, if it is new; the relation's id is that of the source and the name."""
        id = f"{head.partition(':')[0]}:{relation}"
        if id not in self._relation_numbers:
            self._relation_numbers[id] = len(self._relation_numbers)
            self._relations.add((id, relation, in_words(relation)))
        ends = self._entity_numbers[head] << NUMBER_BITS | self._entity_numbers[tail]
        number = self._relation_numbers[id] << 2 * NUMBER_BITS | ends
        if number in self._seen:
            self.counts[self._source]["duplicates"] += 1
        else:
            self._seen.add(number)
            self._triples.add((head, id, tail, self._source))
            self.counts[self._source]["triples"] += 1

    def leave_out(self, reason: str, where: str = "") -> None:
        """Count a record that does not enter the graph."""
        if reason == "malformed" and not self.counts[self._source]["malformed"]:
            self.malformed.append(where)
        self.counts[self._source][reason] += 1

    def tables(self) -> dict[str, pa.Table]:
        """`triples`, `entities` and `relations`."""
        rows = {"triples": self._triples, "entities": self._entities, "relations": self._relations}
        return {name: each.table() for name, each in rows.items()}


class _Rows:
    """Rows that become columns chunk by chunk."""

    def __init__(self, schema: pa.Schema):
        self._schema = schema
        self._chunks: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) == CHUNK:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        return pa.Table.from_batches(self._chunks, self._schema)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
            self._chunks.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows = []


def in_words(name: str) -> str:
    """A relation's name as words: AtLocation -> at location, _has_part -> has part, is-a -> is a."""
    return " ".join(_WORD_STARTS.sub(" ", name).lower().split())
