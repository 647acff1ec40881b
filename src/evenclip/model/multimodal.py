"""The multi-modal encoder of Knowledge-CLIP: a Transformer over the slots of a triple, any of which can be masked.

Reads and writes `multimodal.safetensors` and `multimodal.json` beside a trained model. Source: Pan et al., "Contrastive
language-image pre-training with knowledge graphs", NeurIPS 2022, section 3. Our choices: a masked slot is a single zero
vector, so that its length gives nothing away; it is read at that vector, other slots as the mean of their tokens.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from evenclip.digests import check_output
from evenclip.errors import InputError
from evenclip.model.tokens import WHOLE, Grid, region_tokens
from evenclip.provenance import write_json

HEAD, RELATION, TAIL = range(3)
HEAD_WIDTH = 32
"""Features of an attention head: width 128 has 4."""
TEXT_TOKENS = 6
"""Tokens of a text in a slot: names are shown in full, longer texts by their end."""


@dataclass(frozen=True)
class Slot:
    """One slot of n triples: ``features``, shape (n, l, width), and ``is_shown``, (n, l), bool, False for padding."""

    features: torch.Tensor
    is_shown: torch.Tensor

    def rows(self, index: torch.Tensor) -> "Slot":
        """The slot of the triples ``index``, shape (m,), cut to the longest content among them."""
        is_shown = self.is_shown[index]
        length = int(is_shown.any(dim=0).nonzero().max()) + 1
        return Slot(self.features[index, :length], is_shown[:, :length])


Triple = tuple[Slot | None, Slot | None, Slot | None]
"""Head, relation, tail; None = masked."""


class MultiModalEncoder(nn.Module):
    """Encodes triples (head, relation, tail): slots of tokens in, one vector for each slot out.

    Parameters
    ----------
    image_width, text_width : int
        Widths of the towers' tokens.
    width : int
        A multiple of 32; the paper uses 1024 with 4 layers for a ViT-L.
    n_layers : int
    embed_dim : int
        Width of the vectors by which entities are compared.
    """

    def __init__(self, image_width: int, text_width: int, width: int, n_layers: int, embed_dim: int):
        super().__init__()
        self.settings = {"image_width": image_width, "text_width": text_width, "width": width, "n_layers": n_layers,
                         "embed_dim": embed_dim}  # fmt: skip
        self.width = width
        self.from_image = nn.Sequential(nn.LayerNorm(image_width), nn.Linear(image_width, width))
        self.from_text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.slot_type = nn.Parameter(torch.randn(3, width) * 0.02)
        settings = {"dim_feedforward": 2 * width, "dropout": 0.0, "activation": "gelu", "norm_first": True}
        layer = nn.TransformerEncoderLayer(width, width // HEAD_WIDTH, batch_first=True, **settings)
        norm = nn.LayerNorm(width)
        self.transformer = nn.TransformerEncoder(layer, n_layers, norm, enable_nested_tensor=False)
        self.to_entity = nn.Linear(width, embed_dim)

    def image(self, tokens: torch.Tensor, is_shown: torch.Tensor) -> Slot:
        """Image tokens, shape (n, l, image_width), as a slot."""
        return Slot(self.from_image(tokens), is_shown)

    def regions(self, grid: Grid, image: torch.Tensor, boxes: np.ndarray, side: int) -> Slot:
        """Regions, ``boxes`` (n, 4) in shares of the sides of the images ``image`` (n,), rows of ``grid``, as a slot.

        See `region_tokens`. The class token is shown for whole images only, as it says too much about a region.
        """
        tokens = region_tokens(grid, image, torch.from_numpy(boxes).to(image.device), side)
        is_shown = torch.ones(tokens.shape[:2], dtype=torch.bool, device=image.device)
        is_shown[:, 0] = torch.from_numpy((boxes == WHOLE).all(axis=1)).to(image.device)
        return self.image(tokens, is_shown)

    def text(self, tokens: torch.Tensor, is_shown: torch.Tensor) -> Slot:
        """Text tokens, shape (n, l, text_width), as a slot."""
        return Slot(self.from_text(tokens), is_shown)

    def forward(self, *triples: Triple) -> tuple[torch.Tensor, ...]:
        """Encode one or more kinds of triples at once, each with its own slots masked.

        Returns
        -------
        tuple of Tensor of shape (n, 3, width)
            For each of ``triples`` the vectors of head, relation and tail.
        """
        sizes = [next(len(slot.is_shown) for slot in triple if slot is not None) for triple in triples]
        columns = zip(*triples, strict=True)  # all heads, all relations, all tails
        slots = [
            join([self._masked(n) if slot is None else slot for n, slot in zip(sizes, column, strict=True)])
            for column in columns
        ]
        x = torch.cat([slot.features + self.slot_type[i] for i, slot in enumerate(slots)], dim=1)  # (n, l, width)
        is_shown = torch.cat([slot.is_shown for slot in slots], dim=1)
        lengths = torch.tensor([slot.is_shown.shape[1] for slot in slots], device=x.device)
        of_slot = torch.arange(3, device=x.device).repeat_interleave(lengths)
        # padding moves to the end and is cut off: which slot is long differs between kinds of triples
        front = is_shown.int().argsort(dim=1, descending=True, stable=True)[:, : int(is_shown.sum(dim=1).max())]
        x, is_shown = x.gather(1, front[:, :, None].expand(-1, -1, self.width)), is_shown.gather(1, front)
        with _attention(x.device):
            x = self.transformer(x, src_key_padding_mask=~is_shown)
        member = (F.one_hot(of_slot[front], 3) * is_shown[:, :, None]).to(x.dtype)  # (n, l, 3)
        read = torch.einsum("nls,nlw->nsw", member / member.sum(dim=1, keepdim=True), x)
        return read.split(sizes)

    def entity(self, read: torch.Tensor) -> torch.Tensor:
        """Vectors of an entity's slot, shown or masked, as unit rows, float32, shape (n, embed_dim)."""
        return F.normalize(self.to_entity(read).float(), dim=-1)

    def _masked(self, n: int) -> Slot:
        like = self.slot_type
        return Slot(like.new_zeros(n, 1, self.width), torch.ones(n, 1, dtype=torch.bool, device=like.device))


def save_multimodal(encoder: MultiModalEncoder, folder: Path, **description: Any) -> None:
    """Write the encoder into ``folder``; ``description`` goes to `multimodal.json`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(weights, folder / "multimodal.safetensors")
    write_json({"encoder": encoder.settings} | description, folder / "multimodal.json")


def load_multimodal(folder: Path) -> tuple[MultiModalEncoder, dict[str, Any]]:
    """The encoder that `save_multimodal` wrote into ``folder``, and its description; `InputError` if there is none."""
    hint = "give a run that was trained with knowledge"
    for name in ("multimodal.json", "multimodal.safetensors"):
        check_output(folder / name)
    try:
        description = json.loads((folder / "multimodal.json").read_text(encoding="utf-8"))
        encoder = MultiModalEncoder(**description["encoder"])
        encoder.load_state_dict(load_file(folder / "multimodal.safetensors"))
    except FileNotFoundError as error:
        what = f"no {Path(error.filename).name if error.filename else 'multimodal.safetensors'} in it"
        raise InputError(what, str(folder), hint) from None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"not a multi-modal encoder ({str(error).splitlines()[0]})", str(folder), hint) from None
    return encoder, description


def join(slots: list[Slot]) -> Slot:
    """Concatenate slots along the triples, padded to the longest."""
    length = max(slot.is_shown.shape[1] for slot in slots)
    missing = [length - slot.is_shown.shape[1] for slot in slots]
    features = [F.pad(slot.features, (0, 0, 0, more)) for slot, more in zip(slots, missing, strict=True)]
    is_shown = [F.pad(slot.is_shown, (0, more)) for slot, more in zip(slots, missing, strict=True)]
    return Slot(torch.cat(features), torch.cat(is_shown))


def _attention(device: torch.device) -> sdpa_kernel:
    """Use plain matrix products on a CPU: for 10-30 tokens the fused backward pass is far slower."""
    every = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel([SDPBackend.MATH] if device.type == "cpu" else every)
