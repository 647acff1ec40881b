"""Swap probes of a data folder's captions: does a model tell a caption from a copy with one thing exchanged?

Reads a data folder; writes another with a pair for each probe: the picture, one caption, its false copy (`foil`) and
the kind of swap (`probe`). Command: `evenclip data swaps`.

Kinds: `gender` (every word for a man or a woman becomes the other), `color`, `attribute` (size, age, material, ...),
`position` (on for under, behind for in front of) and `posture` (sitting for standing). All captions of a picture are
its facts: a swap that one of them may make true is left out, as in `evenclip.graph.captions.negatives`. The false copy
is often an unlikely sentence, and a model may notice that without looking: compare runs rather than a run with 0.5.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from evenclip.data.picture_keys import PictureKeys
from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import iterate_images, read_pairs
from evenclip.errors import InputError
from evenclip.graph.captions.negatives import false_captions
from evenclip.graph.captions.words import caption_words
from evenclip.graph.linking import merge
from evenclip.graph.scenes import read_scenes
from evenclip.graph.sources import captions as caption_source
from evenclip.graph.sources.base import SourceContext
from evenclip.graph.tables import Graph
from evenclip.provenance import Manifest

ALL_SWAPS = 1000
"""More than a caption has."""
_WORD = re.compile(r"[A-Za-z]+")

Swapped = tuple[str, str]
"""A caption, and the caption with one thing swapped."""


def write_swap_probes(data: str | os.PathLike, out: str | os.PathLike, seed: int = 0) -> dict[str, int]:
    """Write the swap probes of a data folder, at most one of each kind for a picture.

    Parameters
    ----------
    data : path
        Data folder with English captions, several for a picture if possible.
    out : path
        Data folder; replaced as a whole. Its pairs have the columns probe, foil and image (the key in ``data``).
    seed : int
        Of the choice among a picture's swaps.

    Returns
    -------
    dict of str to int
        Number of probes of each kind.

    Raises
    ------
    InputError
        The data folder cannot be read, or no caption has anything to swap.
    """
    manifest = Manifest("data", {"made_by": "swaps"}, {"data": data}, seed)
    table = read_pairs(data)
    swaps = _swaps_by_picture(table, data, seed)
    if not swaps:
        raise InputError("no caption has anything to swap", str(data), "it needs English captions, several a picture")
    rng = np.random.default_rng(seed)
    counts: dict[str, int] = {}
    with write_shards(Path(out), manifest) as writer:
        sizes = table.select(["width", "height", "sha256"]).to_pylist()
        for (key, image), size in zip(iterate_images(data), sizes, strict=True):
            for probe, choices in sorted(swaps.get(key, {}).items()):
                caption, foil = choices[rng.integers(len(choices))]
                columns = {"probe": probe, "foil": foil, "image": key}
                writer.add(f"{probe}_{key}", image, [caption], columns, **size)
                counts[probe] = counts.get(probe, 0) + 1
    return counts


def _swaps_by_picture(table: pa.Table, data: str | os.PathLike, seed: int) -> dict[str, dict[str, list[Swapped]]]:
    """The possible swaps of each picture, by its key and their kind."""
    swaps: dict[str, dict[str, list[Swapped]]] = {}
    families = caption_words().families
    for row in _false_captions(data, seed).to_pylist():
        kind = {"attribute": "attribute", "relation": "position"}.get(row["kind"])
        if kind is None:
            continue
        if families.get(row["swapped"]) == "color":
            kind = "color"
        elif row["swapped"].endswith("ing"):
            kind = "posture"
        swaps.setdefault(row["key"], {}).setdefault(kind, []).append((row["caption"], row["text"]))
    for key, captions in zip(table["key"].to_pylist(), table["captions"].to_pylist(), strict=True):
        if choices := list(gender_swaps(captions)):
            swaps.setdefault(key, {})["gender"] = choices
    return swaps


def _false_captions(data: str | os.PathLike, seed: int) -> pa.Table:
    """All false copies of captions by swaps of attributes and relations."""
    graph = Graph()
    graph.begin("captions")
    caption_source.read(Path(data), graph, SourceContext(PictureKeys(data), "en"))
    entities = merge(graph.entities, np.arange(len(graph.entities.ids)))
    scenes = read_scenes(entities, graph.triples(), [text for _, _, text in graph.relations])
    return false_captions(data, scenes, ALL_SWAPS, seed)


def gender_swaps(captions: list[str]) -> Iterator[Swapped]:
    """The captions of a picture that name a man or a woman, with the other in their place.

    Captions with pronouns are left out, which would contradict the swapped word, and so are pictures whose captions
    name both.
    """
    to_woman, pronouns = caption_words().gender_swaps, caption_words().classes["gendered_pronouns"]
    to_man = {woman: man for man, woman in reversed(to_woman.items())}
    words = [{word.lower() for word in _WORD.findall(caption)} for caption in captions]
    named = set().union(*words)
    if named.isdisjoint(to_woman) == named.isdisjoint(to_man):
        return
    swaps = to_man if named.isdisjoint(to_woman) else to_woman
    for caption, of_caption in zip(captions, words, strict=True):
        if not of_caption.isdisjoint(swaps) and of_caption.isdisjoint(pronouns):
            yield caption, _WORD.sub(lambda match: _swapped(match[0], swaps), caption)


def _swapped(word: str, swaps: dict[str, str]) -> str:
    other = swaps.get(word.lower(), word)
    return other.capitalize() if word[0].isupper() else other
