"""Known positives: texts that are known to be true of an image, so that they are not used as its negatives.

A text is known to be true of an image if all its words, and all pairs of neighbouring words, are known of the image.
They are known from the image's own captions and, if there is a graph, from what that says of the image's regions. The
model is never asked: it could make all of its negatives look like positives.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from evenclip.tables import read_table
from evenclip.train.plugin import MethodContext, Step

STOP_WORDS = ["", "a", "an", "the", "and"]
"""Texts whose tokens are ignored: the tokenizer's own marks (of the empty text), articles and "and"."""


@dataclass(frozen=True)
class BatchPositives:
    """Known positives among b images and q captions, by the v terms (words and pairs of words) of the captions.

    ``unknown``, shape (b, v): 1 where a term is not known of an image; ``contains``, shape (q, v): 1 where a caption
    contains a term.
    """

    unknown: torch.Tensor
    contains: torch.Tensor

    def of(self, images: slice, captions: slice) -> torch.Tensor:
        """Whether each of ``captions`` is known to be true of each of ``images``, shape (n, m), bool."""
        return self.unknown[images] @ self.contains[captions].T == 0


class KnownPositives:
    """What is known of n images, and what m captions contain, as terms: tokens, and pairs of neighbouring tokens.

    Parameters
    ----------
    captions : Tensor of shape (m, context), int
        Tokens of each caption.
    facts : Tensor of shape (f, context), int
        Tokens of each different text that is known to be true of some image.
    image_facts : tuple of two ndarray of shape (k,), int
        Images, and for each the row of a fact that is true of it.
    n_images : int
    stop_words : Tensor of int
        Tokens of `STOP_WORDS`.
    device : torch.device
        Device of what `at` returns.
    """

    def __init__(self, captions: torch.Tensor, facts: torch.Tensor, image_facts: tuple[np.ndarray, np.ndarray],
                 n_images: int, stop_words: torch.Tensor, device: torch.device):  # fmt: skip
        ignored = stop_words.unique().numpy()
        (caption, caption_term), (fact, fact_term) = (_terms(texts.numpy(), ignored) for texts in (captions, facts))
        terms = np.unique(caption_term)  # terms of facts that no caption contains are not needed
        self._of_captions = _TermLists.of(caption, np.searchsorted(terms, caption_term), len(captions))
        is_needed = np.isin(fact_term, terms)
        of_facts = _TermLists.of(fact[is_needed], np.searchsorted(terms, fact_term[is_needed]), len(facts))
        images, fact_rows = image_facts
        position, term = of_facts.rows(fact_rows)
        self._of_images = _TermLists.of(images[position], term, n_images)
        self._device = device

    def at(self, images: np.ndarray, captions: np.ndarray) -> BatchPositives:
        """Known positives among the images, shape (b,), and captions, shape (q,), given by their numbers."""
        caption, caption_term = self._of_captions.rows(captions)
        terms, caption_column = np.unique(caption_term, return_inverse=True)
        image, image_term = self._of_images.rows(images)
        image_column = np.searchsorted(terms, image_term)
        is_needed = np.append(terms, -1)[image_column] == image_term
        unknown = torch.ones(len(images), len(terms), device=self._device)
        unknown[self._tensor(image[is_needed]), self._tensor(image_column[is_needed])] = 0
        contains = torch.zeros(len(captions), len(terms), device=self._device)
        contains[self._tensor(caption), self._tensor(caption_column)] = 1
        return BatchPositives(unknown, contains)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _terms(tokens: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and term of each token, and of each pair of neighbouring tokens, that is not ignored; shape (w,) both."""
    kept = ~np.isin(tokens, ignored)
    text, token = np.nonzero(kept)[0], tokens[kept].astype(np.int64)
    is_neighbour = text[1:] == text[:-1]
    pairs = (token[:-1] + 1 << 32 | token[1:])[is_neighbour]
    return np.concatenate([text, text[1:][is_neighbour]]), np.concatenate([token, pairs])


@dataclass(frozen=True)
class _TermLists:
    """The different terms of each of n texts: those of text i are ``terms[starts[i]:starts[i + 1]]``."""

    terms: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: np.ndarray, terms: np.ndarray, n: int) -> "_TermLists":
        """From pairs of a text's number and a term, shape (w,) both, for n texts."""
        n_terms = int(terms.max(initial=0)) + 1
        texts, terms = np.divmod(np.unique(texts.astype(np.int64) * n_terms + terms), n_terms)
        return cls(terms, np.searchsorted(texts, np.arange(n + 1)))

    def rows(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each term of each of ``texts``: the position of the text in ``texts``, and the term."""
        first, count = self.starts[texts], self.starts[texts + 1] - self.starts[texts]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(np.arange(len(texts)), count), self.terms[np.repeat(first, count) + within]


def known_positives(context: MethodContext, captions: torch.Tensor) -> KnownPositives:
    """Which of ``captions``, tokens of shape (m, context), are known to be true of the images of which pairs.

    Known of an image are its own captions and, if there is a graph, what that says of it.
    """
    pairs, tokenizer = context.pairs, context.clip.tokenizer
    facts, fact_rows = pairs.tokens, pairs.captions
    images = np.repeat(np.arange(len(pairs.keys)), np.diff(pairs.starts))
    if context.graph:
        graph_images, texts = facts_of_images(context.graph, pairs.keys)
        if texts:
            coded = pa.array(texts).dictionary_encode()
            images, fact_rows = (
                np.append(images, graph_images),
                np.append(fact_rows, len(facts) + coded.indices.to_numpy()),
            )
            facts = torch.cat([facts, tokenizer(coded.dictionary.to_pylist())])
    n_images = len(pairs.keys)
    return KnownPositives(captions, facts, (images, fact_rows), n_images, tokenizer(STOP_WORDS), context.device)


HAS_ATTRIBUTE = "has attribute"  # a name in relations.parquet, see `evenclip.graph.tables`


def facts_of_images(graph: Path, keys: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What the graph's training split says of the images ``keys``, worded as a caption would word it.

    For each region: its name, each attribute followed by the name or by another attribute, and its relations with other
    regions. Concepts are left out: what a dictionary says of a thing need not be visible in the image that illustrates
    it.

    Returns
    -------
    tuple
        The image of each fact, by its row in ``keys``, shape (f,), and its text.
    """
    entities = read_table(graph / "entities.parquet", ["id", "text", "image_key", "box"])
    row = {key: number for number, key in enumerate(keys)}
    regions = entities.filter(pc.and_(entities["box"].is_valid(), pc.is_in(entities["image_key"], pa.array(row))))
    image = dict(zip(regions["id"].to_pylist(), map(row.get, regions["image_key"].to_pylist()), strict=True))
    text = dict(zip(entities["id"].to_pylist(), entities["text"].to_pylist(), strict=True))
    related, attributes = _region_triples(graph, image, text)
    facts = {(number, text[region]) for region, number in image.items() if text[region]}
    for region, words in attributes.items():
        facts |= {(image[region], f"{first} {last}") for first in words for last in {*words, text[region]} - {first}}
    for head, relation, tail in related:
        facts |= {(image[head], f"{text[head]} {relation} {text[tail]}")}
        facts |= {(image[head], f"{relation} {word}") for word in attributes[tail]}
    ordered = sorted(facts)
    return np.array([number for number, _ in ordered], np.int64), [fact for _, fact in ordered]


def _region_triples(
    graph: Path, image: dict[str, int], text: dict[str, str]
) -> tuple[list[tuple], dict[str, set[str]]]:
    """Relations between named regions as (head, relation's text, tail), and the attributes of each region."""
    relations = read_table(graph / "relations.parquet", ["id", "name", "text"]).to_pylist()
    relation_text = {relation["id"]: relation["text"] for relation in relations}
    is_attribute = {relation["id"] for relation in relations if relation["name"] == HAS_ATTRIBUTE}
    triples = read_table(graph / "triples.parquet", ["head", "relation", "tail", "split"])
    of_regions = pc.is_in(triples["head"], value_set=pa.array(image, pa.string()))
    triples = triples.filter(pc.and_(of_regions, pc.equal(triples["split"], "train")))
    related, attributes = [], defaultdict(set)
    columns = (triples[name].to_pylist() for name in ("head", "relation", "tail"))
    for head, relation, tail in zip(*columns, strict=True):
        if relation in is_attribute:
            attributes[head].add(text[tail])
        elif tail in image and text[head] and text[tail]:
            related.append((head, relation_text[relation], tail))
    return related, attributes


class PositivesMask:
    """Masks the known positives of n pairs as negatives: texts that are true of an image other than their own."""

    extra_text = None

    def __init__(self, positives: BatchPositives, n: int):
        self._positives, self._n = positives, n
        self._n_masked, self._n_cells = torch.zeros((), device=positives.contains.device), 0

    def log_weight(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where a text is true of the images ``rows``, else 0."""
        return self._masked(self._positives.of(rows, slice(0, self._n)), rows)

    def log_weight_text(self, rows: slice) -> torch.Tensor:
        """Shape (n_rows, b): -inf where the texts ``rows`` are true of an image, else 0."""
        return self._masked(self._positives.of(slice(0, self._n), rows).T, rows)

    def logged(self) -> dict[str, torch.Tensor | float]:
        """``negatives_masked``: the share of the negatives that were masked, over both directions."""
        return {"negatives_masked": self._n_masked / max(self._n_cells, 1)}

    def _masked(self, true: torch.Tensor, rows: slice) -> torch.Tensor:
        columns = torch.arange(self._n, device=true.device)
        true = true & (columns[rows, None] != columns)
        self._n_masked = self._n_masked + true.sum()
        self._n_cells += true.numel() - len(true)
        return torch.zeros(true.shape, device=true.device).masked_fill_(true, -torch.inf)


class MaskedPositives:
    """Plain negatives without known positives (`TrainOptions.mask_true`), as the `Negatives` of a training.

    Parameters
    ----------
    context : MethodContext
    """

    def __init__(self, context: MethodContext):
        self._pairs, self._positives = context.pairs, known_positives(context, context.pairs.tokens)

    def adjust(self, step: Step) -> PositivesMask:
        """The mask of one batch."""
        rows = step.batch.rows
        return PositivesMask(self._positives.at(rows, self._pairs.captions_of(step.batch)), len(rows))

    def tables(self) -> dict[str, pa.Table]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""
