"""All that a graph can show, encoded once by a trained model: what questions are made of, and what answers are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import iterate_images
from evenclip.model.clip import Clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.multimodal import HEAD, TAIL, TEXT_TOKENS, MultiModalEncoder, Slot, join
from evenclip.model.shown_graph import ShownGraph
from evenclip.model.tokens import TokenTap, last_text_tokens
from evenclip.model.towers import encode_image, encode_text, trim
from evenclip.progress import track

ROWS = 256  # texts, pictures or contents that are encoded at once


@dataclass(frozen=True)
class EncodedGraph:
    """c contents as slots, and as the answers that they are at the head and at the tail, (c, d) unit rows.

    ``contents`` (c,) sorted numbers of `ShownGraph.content`: texts of entities, then images; ``relations``: R rows.
    """

    contents: np.ndarray
    slots: Slot
    relations: Slot
    as_head: torch.Tensor
    as_tail: torch.Tensor


@torch.no_grad()
def encode_graph(
    clip: Clip, encoder: MultiModalEncoder, graph: ShownGraph, keys: np.ndarray, data: Path, side: int, threads: int
) -> EncodedGraph:
    """Encode the texts of all entities, and the images and regions of the pictures ``keys`` of ``data``.

    Parameters
    ----------
    keys : ndarray of str
        In the order of ``data``.
    side : int
        Rows and columns of tokens of an image or region, as in training.
    """
    has_text = np.unique(graph.entity_text[graph.entity_text >= 0])
    shown = np.flatnonzero(graph.entity_pair >= 0)
    texts = _texts(clip, encoder, graph.texts)
    parts = [texts.rows(_tensor(has_text, texts))] if len(has_text) else []
    if len(shown):
        parts.append(_images(clip, encoder, graph, keys, shown, data, side, threads))
    slots = join(parts)
    contents = np.concatenate([has_text, len(graph.texts) + shown])
    answers = [_answers(encoder, slots.rows(_tensor(rows, slots))) for rows in _blocks(len(contents))]
    as_head, as_tail = (torch.cat(side) for side in zip(*answers, strict=True))
    return EncodedGraph(contents, slots, texts.rows(_tensor(graph.relation_text, texts)), as_head, as_tail)


def _texts(clip: Clip, encoder: MultiModalEncoder, texts: list[str]) -> Slot:
    module, tap = clip.module, TokenTap(clip.module, always=True)
    slots = []
    for tokens in clip.tokenizer(texts).split(ROWS):
        encode_text(module, trim(module, tokens).to(module.logit_scale.device))
        slots.append(encoder.text(*last_text_tokens(module, tokens, tap.text, TEXT_TOKENS)))
    tap.remove()
    return join(slots)


def _images(
    clip: Clip, encoder: MultiModalEncoder, graph: ShownGraph, keys: np.ndarray, shown: np.ndarray, data: Path,
    side: int, threads: int,
) -> Slot:  # fmt: skip
    """The entities ``shown``, in their order; each of the pictures ``keys`` is encoded once."""
    module, tap, device = clip.module, TokenTap(clip.module, always=True), clip.module.logit_scale.device
    wanted = set(keys.tolist())
    images = ((key, content) for key, content in iterate_images(data) if key in wanted)  # in the order of `keys`
    pixels = iter(track(decode_images(images, clip.preprocess_cfg, str(data), threads), "encode pictures", len(keys)))
    of_picture = graph.entity_pair[shown]
    slots, entities = [], []
    for rows in _blocks(len(keys)):
        some = torch.from_numpy(np.stack([next(pixels) for _ in rows])).to(device)
        encode_image(module, normalise(some, clip.preprocess_cfg))
        these = (of_picture >= rows[0]) & (of_picture <= rows[-1])
        image = torch.from_numpy(of_picture[these] - rows[0]).to(device)
        slots.append(encoder.regions(tap.image, image, graph.boxes[shown[these]], side))
        entities.append(shown[these])
    tap.remove()
    joined = join(slots)
    return joined.rows(_tensor(np.argsort(np.concatenate(entities)), joined))


def _answers(encoder: MultiModalEncoder, slot: Slot) -> tuple[torch.Tensor, torch.Tensor]:
    as_head, as_tail = encoder((slot, None, None), (None, None, slot))
    return encoder.entity(as_head[:, HEAD]), encoder.entity(as_tail[:, TAIL])


def _blocks(n: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n), -(-n // ROWS))


def _tensor(rows: np.ndarray, slot: Slot) -> torch.Tensor:
    return torch.from_numpy(rows).to(slot.features.device)
