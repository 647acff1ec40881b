"""Encodings of a graph's texts and images by a trained model, as answers and as parts of questions."""

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
    """Encoded contents (texts and images) of a graph.

    ``answers`` (c,): sorted contents, with their unit embeddings ``as_head`` and ``as_tail``, (c, d), at either end of
    a triple. ``asked`` (a,): sorted contents of the questions, with their ``slots``. ``relations``: one slot for each.
    """

    answers: np.ndarray
    as_head: torch.Tensor
    as_tail: torch.Tensor
    asked: np.ndarray
    slots: Slot
    relations: Slot


@dataclass(frozen=True)
class Pictures:
    """Pictures to encode: sorted ``rows`` of the pairs ``keys``, which are in the order of the data folder ``data``."""

    data: Path
    keys: np.ndarray
    rows: np.ndarray


@torch.no_grad()
def encode_graph(
    clip: Clip, encoder: MultiModalEncoder, graph: MultiModalGraph, answers: np.ndarray, asked: np.ndarray,
    pictures: Pictures, side: int, threads: int,
) -> EncodedGraph:  # fmt: skip
    """Encode all ``answers``, and keep the slots of the contents in ``asked``, a sorted subset of them.

    Parameters
    ----------
    side : int
        Number of rows (and columns) of tokens of an image or region, as in training.

    Raises
    ------
    InputError
        The model's features are not finite.
    """
    heads, tails, slots, row_blocks = [], [], [], []
    for rows, slot in _encoded(clip, encoder, graph, answers, pictures, side, threads):
        as_head, as_tail = encoder((slot, None, None), (None, None, slot))
        heads.append(encoder.entity(as_head[:, HEAD]))
        tails.append(encoder.entity(as_tail[:, TAIL]))
        is_asked = np.isin(answers[rows], asked)
        if is_asked.any():
            slots.append(slot.rows(_tensor(np.flatnonzero(is_asked), slot)))
        row_blocks.append(rows)
    rows = np.concatenate(row_blocks)
    order = np.argsort(rows)
    as_head, as_tail = (torch.cat(parts)[torch.from_numpy(order).to(parts[0].device)] for parts in (heads, tails))
    if not (as_head.isfinite().all() and as_tail.isfinite().all()):
        raise InputError("the model's features are not finite", "--model", "train it again; see its history.parquet")
    asked_slots = join(slots)
    asked_slots = asked_slots.rows(_tensor(np.argsort(rows[np.isin(answers[rows], asked)]), asked_slots))
    relations = join(list(_texts(clip, encoder, [graph.texts[text] for text in graph.relation_text])))
    return EncodedGraph(answers, as_head, as_tail, asked, asked_slots, relations)


def _encoded(
    clip: Clip, encoder: MultiModalEncoder, graph: MultiModalGraph, answers: np.ndarray, pictures: Pictures, side: int,
    threads: int,
) -> Iterator[tuple[np.ndarray, Slot]]:  # fmt: skip
    """Yield rows of ``answers`` with their slots, in blocks: first texts, then the entities shown by pictures."""
    n_texts = int(np.searchsorted(answers, len(graph.texts)))
    texts = [graph.texts[text] for text in answers[:n_texts]]
    yield from zip(_blocks(n_texts), _texts(clip, encoder, texts), strict=True)
    module, tap, device = clip.module, TokenTap(clip.module, always=True), clip.module.logit_scale.device
    entities = answers[n_texts:] - len(graph.texts)
    picture = np.searchsorted(pictures.rows, graph.entity_pair[entities])
    keys = pictures.keys[pictures.rows].tolist()
    decoded = decode_images(iterate_images(pictures.data, set(keys)), clip.preprocess_cfg, str(pictures.data), threads)
    for block in track(_blocks(len(pictures.rows)), "encode pictures"):
        pixels = dict(next(decoded) for _ in block)
        images = torch.from_numpy(np.stack([pixels[keys[i]] for i in block])).to(device)
        encode_image(module, normalise(images, clip.preprocess_cfg))
        pictured = np.flatnonzero((picture >= block[0]) & (picture <= block[-1]))  # entities in these pictures
        image = torch.from_numpy(picture[pictured] - block[0]).to(device)
        if len(pictured):
            yield n_texts + pictured, encoder.regions(tap.image, image, graph.boxes[entities[pictured]], side)
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
