"""False variants of captions: an attribute, a relation or an object is swapped for a sibling from the graph.

A colour for a colour, "left of" for "right of", a thing for another of its kind. A swap is kept only where the scene
graph of the picture says that it is false: it knows the thing (and, of an attribute, its colour; of a relation, how the
two lie), and it does not know the swapped-in as well. So a caption that does not belong to its picture, or a second
dog of another colour, gives no "false" caption that is true. What is denied ("no dog") is left alone.

Writes rows of `NEGATIVES_SCHEMA`; `evenclip graph --data DIR` puts them into `negatives.parquet`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenclip.data.shards import read_pairs
from evenclip.graph.captions.parser import Link, Mention, parse_caption
from evenclip.graph.captions.words import caption_words
from evenclip.graph.linking import singular
from evenclip.graph.scenes import PictureFacts, Scenes
from evenclip.graph.tables import inverse_of

NEGATIVES_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "caption", "text", "kind", "swapped", "replacement")]
)
KINDS = ("attribute", "relation", "object")
POSITIONS = {"on the left": 0, "on the right": 0, "at the top": 1, "at the bottom": 1}
"""Phrase -> axis; the first of an axis is the lower half of it."""
_MIRRORED = {"on the left": "on the right", "at the top": "at the bottom"}
_MIRRORED |= {after: before for before, after in _MIRRORED.items()}
_POSITION = re.compile("|".join(POSITIONS))
_WORD = re.compile(r"\w+")
_ARTICLE = re.compile(r"\b([Aa])n? $")

Span = tuple[int, int]


@dataclass(frozen=True)
class Swap:
    """One way to make a caption false."""

    kind: str
    span: Span
    replacement: str


@dataclass(frozen=True)
class _Named:
    """A mention with the name that the graph has for it."""

    name: str
    span: Span
    attributes: list[tuple[str, Span]]


def write_negatives(data: str | os.PathLike, scenes: Scenes, per_caption: int, seed: int) -> pa.Table:
    """At most ``per_caption`` false variants of every caption of a data folder whose picture has a scene graph."""
    columns: list[list[str]] = [[] for _ in NEGATIVES_SCHEMA]
    table = read_pairs(data, ["key", "captions", "width", "height"])
    for number, row in enumerate(table.to_pylist()):
        facts = scenes.pictures.get(row["key"])
        rng = np.random.default_rng([seed, number])
        for caption in row["captions"] if facts else ():
            swaps = list(false_swaps(caption, facts, scenes, (row["width"], row["height"])))
            for swap in choose(swaps, per_caption, rng):
                start, end = swap.span
                text = substitute(caption, swap)
                values = (row["key"], caption, text, swap.kind, caption[start:end].lower(), swap.replacement)
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
    return pa.table(columns, schema=NEGATIVES_SCHEMA)


def false_swaps(caption: str, facts: PictureFacts, scenes: Scenes, size: tuple[int, int]) -> Iterator[Swap]:
    """All swaps that the scene graph of the picture calls false; ``size`` is its width and height in pixels."""
    parse = parse_caption(caption)
    named = [_resolve(caption, mention, scenes) if mention.is_shown else None for mention in parse.mentions]
    for each in filter(None, named):
        if each.name in facts.attributes:
            yield from _attribute_swaps(each, facts, scenes)
            yield from _object_swaps(caption, each, facts, scenes)
    for link in parse.links:
        if named[link.subject] and named[link.object]:
            yield from _relation_swaps(caption, link, (named[link.subject].name, named[link.object].name), facts)
    yield from _position_swaps(caption, list(filter(None, named)), facts, size)


def choose(swaps: list[Swap], n: int, rng: np.random.Generator) -> list[Swap]:
    """At most ``n`` swaps, the kinds in turns, no two of the same words as long as there are others."""
    order = [swaps[i] for i in rng.permutation(len(swaps))]
    turns = dict.fromkeys(KINDS, 0)
    spans: set[Span] = set()
    ranked = []
    for swap in order:
        ranked.append(((swap.span in spans, turns[swap.kind]), swap))
        spans.add(swap.span)
        turns[swap.kind] += 1
    return [swap for _, swap in sorted(ranked, key=lambda each: each[0])[:n]]


def substitute(caption: str, swap: Swap) -> str:
    """The caption with the replacement in its place, and "a" or "an" before it as it needs."""
    before, after = caption[: swap.span[0]], caption[swap.span[1] :]
    article = r"\1n " if swap.replacement[0] in "aeiou" else r"\1 "
    return _ARTICLE.sub(article, before) + swap.replacement + after


def _resolve(caption: str, mention: Mention, scenes: Scenes) -> _Named:
    """The longest end of the mention's name that is a thing's name; words before it may be attributes of the graph."""
    start = mention.head_span[0]
    words = [
        (m[0].lower(), (start + m.start(), start + m.end())) for m in _WORD.finditer(caption[slice(*mention.head_span)])
    ]
    for k in range(len(words)):
        name = singular(" ".join(word for word, _ in words[k:]), scenes.names)
        if name in scenes.names:
            extra = [(word, span) for word, span in words[:k] if word in scenes.attributes]
            return _Named(name, (words[k][1][0], words[-1][1][1]), mention.attributes + extra)
    return _Named(mention.name, mention.head_span, mention.attributes)


def _attribute_swaps(named: _Named, facts: PictureFacts, scenes: Scenes) -> Iterator[Swap]:
    known = facts.attributes[named.name]
    for word, span in named.attributes:
        siblings = _listed_siblings("attribute", word) | (scenes.opposites.get(word, set()) & scenes.attributes)
        if known & (siblings | {word}):
            yield from (Swap("attribute", span, other) for other in sorted(siblings - known - {word}))


def _object_swaps(caption: str, named: _Named, facts: PictureFacts, scenes: Scenes) -> Iterator[Swap]:
    is_person = named.name in caption_words().classes["people"]  # a man is an adult, a friend, a player, too
    if is_person or caption[slice(*named.span)].lower() != named.name:  # nor plurals
        return
    shown = set(facts.attributes).union(*facts.attributes.values())
    yield from (Swap("object", named.span, other) for other in sorted(scenes.siblings(named.name) - shown))


def _relation_swaps(caption: str, link: Link, ends: tuple[str, str], facts: PictureFacts) -> Iterator[Swap]:
    """Swaps of a preposition for its inverse or sibling, and of a verb for another posture."""
    if not (ends[0] in facts.attributes and ends[1] in facts.attributes):
        return
    known = {word for relation in facts.relations.get(ends, ()) for word in _parts(relation)}
    for part in _parts(link.relation):
        siblings = _listed_siblings("relation", part)
        inverse = inverse_of(part)
        siblings |= {inverse} if inverse and part in _prepositions() and inverse in _prepositions() else set()
        found = re.search(rf"\b{re.escape(part)}\b", caption[slice(*link.span)].lower())
        if found and known & (siblings | {part}):
            span = (link.span[0] + found.start(), link.span[0] + found.end())
            yield from (Swap("relation", span, other) for other in sorted(siblings - known - {part}))


def _position_swaps(caption: str, named: list[_Named], facts: PictureFacts, size: tuple[int, int]) -> Iterator[Swap]:
    """Swaps of the place in the picture ("on the left"), where the boxes of the thing before it are on one side."""
    for found in _POSITION.finditer(caption.lower()):
        before = [each for each in named if each.span[1] <= found.start()]
        axis, mirrored = POSITIONS[found[0]], _MIRRORED[found[0]]
        boxes = facts.boxes.get(before[-1].name, []) if before else []
        low = [box[axis] + box[axis + 2] / 2 < size[axis] / 2 for box in boxes]
        says_low = found[0] in ("on the left", "at the top")
        if boxes and all(is_low == says_low for is_low in low):
            yield Swap("relation", found.span(), mirrored)


def _parts(relation: str) -> list[str]:
    """A relation's words: the whole, its verb, and the preposition behind the verb."""
    verb, space, preposition = relation.partition(" ")
    is_verb = verb.endswith("ing") and space
    return [relation, verb, preposition] if is_verb else [relation]


def _prepositions() -> set[str]:
    return {" ".join(phrase) for phrases in caption_words().prepositions.values() for phrase in phrases}


def _listed_siblings(kind: str, word: str) -> set[str]:
    return {other for group in caption_words().siblings[kind] if word in group for other in group if other != word}
