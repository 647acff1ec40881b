"""Plain negatives, without the texts that are known to be true of a picture. Reads and writes nothing."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.tables import read_table
from evenclip.train.plugin import Setting, Step

SILENT = ["", "a", "an", "the", "and"]
"""Texts whose tokens say nothing: the tokenizer's own marks, and articles."""


@dataclass(frozen=True)
class Truth:
    """b pictures and q captions: ``unknown`` (b, v) and ``said`` (q, v), 0 or 1, of the v things that are said."""

    unknown: torch.Tensor
    said: torch.Tensor

    def of(self, pictures: slice, captions: slice) -> torch.Tensor:
        """Whether each of ``captions`` says nothing that is not known of each of ``pictures``, shape (n, m), bool."""
        return self.unknown[pictures] @ self.said[captions].T == 0


class TrueCaptions:
    """What is known of n pictures, and what m captions say: tokens, and pairs of tokens that follow each other.

    Parameters
    ----------
    captions : Tensor of shape (m, context), int
        Tokens of each caption.
    facts : Tensor of shape (f, context), int
        Tokens of each different thing that is known of any picture.
    known : tuple of two ndarray of shape (k,), int
        A picture and the number of a fact that is known of it.
    n_pictures : int
    silent : Tensor of int
        Tokens that say nothing, those of `SILENT`.
    device : torch.device
        Of what `at` returns.
    """

    def __init__(self, captions: torch.Tensor, facts: torch.Tensor, known: tuple[np.ndarray, np.ndarray],
                 n_pictures: int, silent: torch.Tensor, device: torch.device):  # fmt: skip
        ignored = silent.unique().numpy()
        (caption, said), (fact, told) = (_said(texts.numpy(), ignored) for texts in (captions, facts))
        things = np.unique(said)  # what no caption says need not be known
        self._said = _Lists.of(caption, np.searchsorted(things, said), len(captions))
        is_said = np.isin(told, things)
        of_facts = _Lists.of(fact[is_said], np.searchsorted(things, told[is_said]), len(facts))
        pictures, number = known
        place, told = of_facts.rows(number)
        self._known = _Lists.of(pictures[place], told, n_pictures)
        self._device = device

    def at(self, pictures: np.ndarray, captions: np.ndarray) -> Truth:
        """Of the pictures, shape (b,), and the captions, shape (q,), by their numbers."""
        caption, said = self._said.rows(captions)
        things, column = np.unique(said, return_inverse=True)
        picture, known = self._known.rows(pictures)
        place = np.searchsorted(things, known)
        is_said = np.append(things, -1)[place] == known
        unknown = torch.ones(len(pictures), len(things), device=self._device)
        unknown[self._tensor(picture[is_said]), self._tensor(place[is_said])] = 0
        matrix = torch.zeros(len(captions), len(things), device=self._device)
        matrix[self._tensor(caption), self._tensor(column)] = 1
        return Truth(unknown, matrix)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _said(tokens: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A text, and a token or a pair of neighbours in it, but for what is ignored; shape (w,) both."""
    kept = ~np.isin(tokens, ignored)
    text, token = np.nonzero(kept)[0], tokens[kept].astype(np.int64)
    follows = text[1:] == text[:-1]
    pairs = (token[:-1] + 1 << 32 | token[1:])[follows]
    return np.concatenate([text, text[1:][follows]]), np.concatenate([token, pairs])


@dataclass(frozen=True)
class _Lists:
    """The different things of each of n texts: those of text i are ``things[starts[i]:starts[i + 1]]``."""

    things: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: np.ndarray, things: np.ndarray, n: int) -> "_Lists":
        """Of the things, each with its text, shape (w,) both, of n texts."""
        many = int(things.max(initial=0)) + 1
        texts, things = np.divmod(np.unique(texts.astype(np.int64) * many + things), many)
        return cls(things, np.searchsorted(texts, np.arange(n + 1)))

    def rows(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place in ``texts`` and the thing, for each thing of each of them."""
        first, n_each = self.starts[texts], self.starts[texts + 1] - self.starts[texts]
        within = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
        return np.repeat(np.arange(len(texts)), n_each), self.things[np.repeat(first, n_each) + within]


HAS_ATTRIBUTE = "has attribute"  # its name in relations.parquet (`evenclip.graph.tables`)


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


class TruthMask:
    """Masks, of n pairs, the texts that are true of a picture which is not their own."""

    extra_text = None

    def __init__(self, truth: Truth, n: int):
        self._truth, self._n = truth, n
        self._n_masked, self._n_cells = torch.zeros((), device=truth.said.device), 0

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where a text is true of the pictures ``rows``, else 0."""
        return self._masked(self._truth.of(rows, slice(0, self._n)), rows)

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where the texts ``rows`` are true of a picture, else 0."""
        return self._masked(self._truth.of(slice(0, self._n), rows).T, rows)

    def logged(self) -> dict[str, torch.Tensor | float]:
        """``negatives_masked``: share of the negatives, in both directions, that were masked."""
        return {"negatives_masked": self._n_masked / max(self._n_cells, 1)}

    def _masked(self, true: torch.Tensor, rows: slice) -> torch.Tensor:
        columns = torch.arange(self._n, device=true.device)
        true = true & (columns[rows, None] != columns)
        self._n_masked = self._n_masked + true.sum()
        self._n_cells += true.numel() - len(true)
        return torch.zeros(true.shape, device=true.device).masked_fill_(true, -torch.inf)


class MaskedNegatives:
    """All negatives count alike, but for texts that are known to be true of a picture: they are none.

    Parameters
    ----------
    setting : Setting
    """

    def __init__(self, setting: Setting):
        self._pairs, self._true = setting.pairs, known_truth(setting, setting.pairs.tokens)

    def adjust(self, step: Step) -> TruthMask:
        """The mask of one batch."""
        rows = step.batch.rows
        return TruthMask(self._true.at(rows, self._pairs.captions_of(step.batch)), len(rows))

    def tables(self) -> dict[str, pa.Table]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""
