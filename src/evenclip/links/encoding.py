"""Contents of a graph, encoded once by a trained model: as answers, and as parts of questions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import iterate_images
from evenclip.errors import InputError
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.multimodal import HEAD, TAIL, TEXT_TOKENS, MultiModalEncoder, Slot, join
from evenclip.model.multimodal_graph import MultiModalGraph
from evenclip.model.tokens import TokenTap, last_text_tokens
from evenclip.model.towers import encode_image, encode_text, trim
from evenclip.progress import track

ROWS = 256  # texts or pictures that are encoded at once


@dataclass(frozen=True)
class EncodedGraph:
    """``answers`` (c,), sorted contents, as they are at the head and at the tail, (c, d) unit rows; slots of questions.

    ``asked`` (a,), sorted contents, with their ``slots``; ``relations``: one slot for each of the graph.
    """

    answers: np.ndarray
    as_head: torch.Tensor
    as_tail: torch.Tensor
    asked: np.ndarray
    slots: Slot
    relations: Slot


@dataclass(frozen=True)
class Pictures:
    """Where images come from: ``rows``, sorted, of the pairs ``keys`` of ``data``, which are in its order."""

    data: Path
    keys: np.ndarray
    rows: np.ndarray


@torch.no_grad()
def encode_graph(
    clip: Clip, encoder: MultiModalEncoder, graph: MultiModalGraph, answers: np.ndarray, asked: np.ndarray,
    pictures: Pictures, side: int, threads: int,
) -> EncodedGraph:  # fmt: skip
    """Encode the contents ``answers``, and keep the slots of those that are ``asked`` from, sorted and among them.

    Parameters
    ----------
    side : int
        Rows and columns of tokens of an image or region, as in training.

    Raises
    ------
    InputError
        The model gives numbers that are not finite.
    """
    heads, tails, slots, places = [], [], [], []
    for place, slot in _encoded(clip, encoder, graph, answers, pictures, side, threads):
        as_head, as_tail = encoder((slot, None, None), (None, None, slot))
        heads.append(encoder.entity(as_head[:, HEAD]))
        tails.append(encoder.entity(as_tail[:, TAIL]))
        is_asked = np.isin(answers[place], asked)
        if is_asked.any():
            slots.append(slot.rows(_tensor(np.flatnonzero(is_asked), slot)))
        places.append(place)
    place = np.concatenate(places)
    back = np.argsort(place)
    as_head, as_tail = (torch.cat(parts)[torch.from_numpy(back).to(parts[0].device)] for parts in (heads, tails))
    if not (as_head.isfinite().all() and as_tail.isfinite().all()):
        raise InputError("the model's features are not finite", "--model", "train it again; see its history.parquet")
    kept = join(slots)
    kept = kept.rows(_tensor(np.argsort(place[np.isin(answers[place], asked)]), kept))
    relations = join(list(_texts(clip, encoder, [graph.texts[text] for text in graph.relation_text])))
    return EncodedGraph(answers, as_head, as_tail, asked, kept, relations)


def _encoded(
    clip: Clip, encoder: MultiModalEncoder, graph: MultiModalGraph, answers: np.ndarray, pictures: Pictures, side: int,
    threads: int,
) -> Iterator[tuple[np.ndarray, Slot]]:  # fmt: skip
    """Places in ``answers`` and their slots, block by block: texts, then what is shown by each picture in turn."""
    n_texts = int(np.searchsorted(answers, len(graph.texts)))
    texts = [graph.texts[text] for text in answers[:n_texts]]
    yield from zip(_blocks(n_texts), _texts(clip, encoder, texts), strict=True)
    module, tap, device = clip.module, TokenTap(clip.module, always=True), clip.module.logit_scale.device
    entities = answers[n_texts:] - len(graph.texts)
    of_picture = np.searchsorted(pictures.rows, graph.entity_pair[entities])
    keys = pictures.keys[pictures.rows].tolist()
    images = iterate_images(pictures.data, set(keys))
    decoded = decode_images(images, clip.preprocess_cfg, str(pictures.data), threads)
    for block in track(_blocks(len(pictures.rows)), "encode pictures"):
        pixels = dict(next(decoded) for _ in block)
        some = torch.from_numpy(np.stack([pixels[keys[i]] for i in block])).to(device)
        encode_image(module, normalise(some, clip.preprocess_cfg))
        these = np.flatnonzero((of_picture >= block[0]) & (of_picture <= block[-1]))
        image = torch.from_numpy(of_picture[these] - block[0]).to(device)
        if len(these):
            yield n_texts + these, encoder.regions(tap.image, image, graph.boxes[entities[these]], side)
    tap.remove()


def _texts(clip: Clip, encoder: MultiModalEncoder, texts: list[str]) -> Iterator[Slot]:
    module, tap = clip.module, TokenTap(clip.module, always=True)
    for block in _blocks(len(texts)):
        tokens = clip.tokenizer([texts[i] for i in block])
        encode_text(module, trim(module, tokens).to(module.logit_scale.device))
        yield encoder.text(*last_text_tokens(module, tokens, tap.text, TEXT_TOKENS))
    tap.remove()


def _blocks(n: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n), -(-n // ROWS)) if n else []


def _tensor(rows: np.ndarray, slot: Slot) -> torch.Tensor:
    return torch.from_numpy(rows).to(slot.features.device)
