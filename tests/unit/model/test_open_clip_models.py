"""Every model that open_clip lists: what works with it, and what is refused, with the reason.

Built on the meta device of torch, where nothing is computed, with few layers. `tests/golden/open_clip_models.tsv` has a
row for each model; with `EVENCLIP_WRITE_OPEN_CLIP_MODELS=1` it is written anew. Text towers of Hugging Face need
transformers, and have tests of their own (`test_hugging_face.py`).
"""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import pytest
import timm
import torch
from timm.models.convnext import ConvNeXt
from timm.models.fastvit import FastVit
from timm.models.swin_transformer import SwinTransformer
from torch.nn.modules.batchnorm import _BatchNorm

from evenclip.errors import InputError
from evenclip.model.tokens import TokenTap
from evenclip.model.towers import encode_image, encode_text, has_causal_text
from evenclip.model.trunks import image_projection, text_projection
from evenclip.train.method_options import EfficientClOptions
from evenclip.train.methods.efficientcl import HiddenAugmentation

TABLE = Path(__file__).parents[2] / "golden" / "open_clip_models.tsv"
WRITE = "EVENCLIP_WRITE_OPEN_CLIP_MODELS" in os.environ
COLUMNS = ("model", "tokenizer", "texts", "image_trunk", "text_trunk", "knowledge", "efficientcl", "batch_in_parts")


@pytest.fixture(scope="module")
def few_layers() -> Iterator[None]:
    """timm's models with two blocks, where their class takes a depth, or with one in each of their stages."""
    create = timm.create_model

    def create_shallow(name: str, **settings: Any) -> torch.nn.Module:
        try:
            return create(name, depth=2, **settings)
        except TypeError:
            return create(name, **settings)

    timm.create_model = create_shallow
    with mock.patch.object(FastVit, "__init__", one_block_a_stage(FastVit, "layers")), \
         mock.patch.object(ConvNeXt, "__init__", one_block_a_stage(ConvNeXt, "depths")), \
         mock.patch.object(SwinTransformer, "__init__", one_block_a_stage(SwinTransformer, "depths")):  # fmt: skip
        yield
    timm.create_model = create


def one_block_a_stage(kind: type, option: str) -> Callable[..., None]:
    """A class's ``__init__`` that takes 1 for each of its numbers of blocks."""
    whole = kind.__init__

    def init(self: torch.nn.Module, *args: Any, **settings: Any) -> None:
        if option in settings:
            settings[option] = (1,) * len(settings[option])
        whole(self, *args, **settings)

    return init


def build(name: str) -> torch.nn.Module:
    config = open_clip.get_model_config(name)
    vision, text = dict(config["vision_cfg"]), config["text_cfg"] | {"layers": 1}
    if "layers" in vision:
        vision["layers"] = [1, 1, 1, 1] if isinstance(vision["layers"], list) else 1
    parts = {"vision_cfg": vision, "text_cfg": text}
    if "multimodal_cfg" in config:
        parts["multimodal_cfg"] = config["multimodal_cfg"] | {"layers": 1}
    with torch.device("meta"):
        return open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta", **parts).eval()


def outcome(use: Callable[[], object]) -> str:
    """``"works"``, or why it is refused; anything else that is raised is a fault."""
    try:
        use()
    except InputError as error:
        return str(error).partition(": ")[2].splitlines()[0]
    return "works"


def row_of(name: str) -> dict[str, str]:
    text_cfg = open_clip.get_model_config(name)["text_cfg"]
    tokenizer = "Hugging Face's" if "hf_tokenizer_name" in text_cfg else "open_clip's"
    if "hf_model_name" in text_cfg:
        return {"model": name, "tokenizer": tokenizer, "texts": "a text tower of Hugging Face"}
    module = build(name)
    width = open_clip.get_model_config(name)["embed_dim"]
    with torch.device("meta"):
        size = module.visual.image_size
        images = torch.zeros(2, 3, *((size, size) if isinstance(size, int) else size))
        assert encode_image(module, images).shape == (2, width)
        tokens = torch.zeros(2, text_cfg.get("context_length", 77), dtype=torch.int64)
        if not has_causal_text(module):  # its own path reads the tokens' values
            assert encode_text(module, tokens).shape == (2, width)
    normalises = any(isinstance(part, _BatchNorm) for part in module.visual.modules())
    return {
        "model": name,
        "tokenizer": tokenizer,
        "texts": "trimmed" if has_causal_text(module) else "whole",
        "image_trunk": outcome(lambda: image_projection(module)),
        "text_trunk": outcome(lambda: text_projection(module)),
        "knowledge": outcome(lambda: TokenTap(module).remove()),
        "efficientcl": outcome(lambda: HiddenAugmentation(EfficientClOptions(), module)),
        "batch_in_parts": "batch normalisation" if normalises else "works",
    }


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.parametrize("name", open_clip.list_models() if not WRITE else [])
def test_each_model_works_or_is_refused_with_the_reason(name: str, few_layers: None, rows: dict[str, dict[str, str]]):
    row = dict.fromkeys(COLUMNS, "") | row_of(name)
    if name in rows:  # open_clip lists more with each release
        assert row == rows[name]


@pytest.mark.skipif(not WRITE, reason="writes the table")
def test_write_the_table(few_layers: None):
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row_of(name) for name in open_clip.list_models())
