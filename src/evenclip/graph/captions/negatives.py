"""False captions (hard negatives): one attribute, relation or object of a caption is swapped for a sibling.

Examples: a colour for another colour, "left of" for "right of", an object for another of its kind. A swap is kept only
if the picture's scene graph shows that it is false. The scene graph must contain the object, with an attribute or
relation of the same kind as the swapped one, and it must not contain the replacement. This guards against captions that
belong to another picture and against a second dog of another colour: neither yields a "false" caption that is true.
Denied objects ("no dog") are not swapped.

Returns rows of `NEGATIVES_SCHEMA`, which `evenclip graph --data DIR` writes to `negatives.parquet`.
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
"""Phrase -> axis of the picture (0 = x, 1 = y)."""
_MIRRORED = {"on the left": "on the right", "at the top": "at the bottom"}
_MIRRORED |= {opposite: phrase for phrase, opposite in _MIRRORED.items()}
_POSITION = re.compile("|".join(POSITIONS))
_WORD = re.compile(r"\w+")
_ARTICLE = re.compile(r"\b([Aa])n? $")

Span = tuple[int, int]


@dataclass(frozen=True)
class Swap:
    """Replacement of one span of a caption that makes it false."""

    kind: str
    span: Span
    replacement: str


@dataclass(frozen=True)
class _ResolvedMention:
    """A mention with the name that the scene graph has for it."""

    name: str
    span: Span
    attributes: list[tuple[str, Span]]


def false_captions(data: str | os.PathLike, scenes: Scenes, per_caption: int, seed: int) -> pa.Table:
    """Table of at most ``per_caption`` false variants of each caption whose picture has a scene graph."""
    columns: list[list[str]] = [[] for _ in NEGATIVES_SCHEMA]
    table = read_pairs(data, ["key", "captions", "width", "height"])
    for number, row in enumerate(table.to_pylist()):
        facts = scenes.pictures.get(row["key"])
        rng = np.random.default_rng([seed, number])
        for caption in row["captions"] if facts else ():
            swaps = list(false_swaps(caption, facts, scenes, (row["width"], row["height"])))
            for swap in draw_swaps(swaps, per_caption, rng):
                start, end = swap.span
                text = substitute(caption, swap)
                values = (row["key"], caption, text, swap.kind, caption[start:end].lower(), swap.replacement)
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
    return pa.table(columns, schema=NEGATIVES_SCHEMA)


def false_swaps(caption: str, facts: PictureFacts, scenes: Scenes, size: tuple[int, int]) -> Iterator[Swap]:
    """Yield all swaps that the picture's scene graph shows to be false.

    ``size`` is the picture's width and height in pixels.
    """
    parse = parse_caption(caption)
    resolved = [_resolve(caption, mention, scenes) if mention.is_shown else None for mention in parse.mentions]
    for mention in filter(None, resolved):
        if mention.name in facts.attributes:
            yield from _attribute_swaps(mention, facts, scenes)
            yield from _object_swaps(caption, mention, facts, scenes)
    for link in parse.links:
        ends = resolved[link.subject], resolved[link.object]
        if all(ends):
            yield from _relation_swaps(caption, link, (ends[0].name, ends[1].name), facts)
    yield from _position_swaps(caption, list(filter(None, resolved)), facts, size)


def draw_swaps(swaps: list[Swap], n: int, rng: np.random.Generator) -> list[Swap]:
    """Draw at most ``n`` swaps, preferring spans not yet used and then kinds that were drawn less often."""
    order = [swaps[i] for i in rng.permutation(len(swaps))]
    n_of_kind = dict.fromkeys(KINDS, 0)
    spans: set[Span] = set()
    ranked = []
    for swap in order:
        ranked.append(((swap.span in spans, n_of_kind[swap.kind]), swap))
        spans.add(swap.span)
        n_of_kind[swap.kind] += 1
    return [swap for _, swap in sorted(ranked, key=lambda entry: entry[0])[:n]]


def substitute(caption: str, swap: Swap) -> str:
    """Apply a swap to a caption, with the article "a" or "an" adjusted."""
    before, after = caption[: swap.span[0]], caption[swap.span[1] :]
    article = r"\1n " if swap.replacement[0] in "aeiou" else r"\1 "
    return _ARTICLE.sub(article, before) + swap.replacement + after


def _resolve(caption: str, mention: Mention, scenes: Scenes) -> _ResolvedMention:
    """Match a mention with the scene graphs' names by its longest known suffix.

    Words before that suffix count as attributes if the scene graphs use them as such.
    """
    start = mention.head_span[0]
    words = [
        (m[0].lower(), (start + m.start(), start + m.end())) for m in _WORD.finditer(caption[slice(*mention.head_span)])
    ]
    for k in range(len(words)):
        name = singular(" ".join(word for word, _ in words[k:]), scenes.names)
        if name in scenes.names:
            extra = [(word, span) for word, span in words[:k] if word in scenes.attributes]
            return _ResolvedMention(name, (words[k][1][0], words[-1][1][1]), mention.attributes + extra)
    return _ResolvedMention(mention.name, mention.head_span, mention.attributes)


def _attribute_swaps(mention: _ResolvedMention, facts: PictureFacts, scenes: Scenes) -> Iterator[Swap]:
    true_attributes = facts.attributes[mention.name]
    for word, span in mention.attributes:
        siblings = _listed_siblings("attribute", word) | (scenes.opposites.get(word, set()) & scenes.attributes)
        if true_attributes & (siblings | {word}):
            yield from (Swap("attribute", span, other) for other in sorted(siblings - true_attributes - {word}))


def _object_swaps(caption: str, mention: _ResolvedMention, facts: PictureFacts, scenes: Scenes) -> Iterator[Swap]:
    is_person = mention.name in caption_words().classes["people"]  # a man is also an adult, a friend and a player
    is_singular = caption[slice(*mention.span)].lower() == mention.name
    if is_person or not is_singular:
        return
    true_words = set(facts.attributes).union(*facts.attributes.values())
    yield from (Swap("object", mention.span, other) for other in sorted(scenes.siblings(mention.name) - true_words))


def _relation_swaps(caption: str, link: Link, ends: tuple[str, str], facts: PictureFacts) -> Iterator[Swap]:
    """Swap a preposition for its inverse or a sibling, or a posture verb for another posture."""
    if not (ends[0] in facts.attributes and ends[1] in facts.attributes):
        return
    true_relations = {word for relation in facts.relations.get(ends, ()) for word in _parts(relation)}
    for part in _parts(link.relation):
        siblings = _listed_siblings("relation", part)
        inverse = inverse_of(part)
        siblings |= {inverse} if inverse and part in _prepositions() and inverse in _prepositions() else set()
        match = re.search(rf"\b{re.escape(part)}\b", caption[slice(*link.span)].lower())
        if match and true_relations & (siblings | {part}):
            span = (link.span[0] + match.start(), link.span[0] + match.end())
            yield from (Swap("relation", span, other) for other in sorted(siblings - true_relations - {part}))


def _position_swaps(
    caption: str, mentions: list[_ResolvedMention], facts: PictureFacts, size: tuple[int, int]
) -> Iterator[Swap]:
    """Swap a position in the picture ("on the left") if all boxes of the object before it are on that side."""
    for match in _POSITION.finditer(caption.lower()):
        phrase = match[0]
        before = [mention for mention in mentions if mention.span[1] <= match.start()]
        axis = POSITIONS[phrase]
        boxes = facts.boxes.get(before[-1].name, []) if before else []
        is_low = [box[axis] + box[axis + 2] / 2 < size[axis] / 2 for box in boxes]
        says_low = phrase in ("on the left", "at the top")
        if boxes and all(low == says_low for low in is_low):
            yield Swap("relation", match.span(), _MIRRORED[phrase])


def _parts(relation: str) -> list[str]:
    """The whole relation and, if it starts with a verb in -ing, that verb and the preposition after it."""
    verb, space, preposition = relation.partition(" ")
    is_verb = verb.endswith("ing") and space
    return [relation, verb, preposition] if is_verb else [relation]


def _prepositions() -> set[str]:
    return {" ".join(phrase) for phrases in caption_words().prepositions.values() for phrase in phrases}


def _listed_siblings(kind: str, word: str) -> set[str]:
    return {other for group in caption_words().siblings[kind] if word in group for other in group if other != word}
