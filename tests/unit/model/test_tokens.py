"""Token-level features: of any open_clip model, those that pooling and projection turn into its embeddings."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from evenclip.errors import InputError
from evenclip.model.clip import create_clip
from evenclip.model.tokens import WHOLE, Grid, TokenTap, boxes_in_view, last_text_tokens, region_tokens, token_widths
from evenclip.model.towers import encode_image, encode_text, trim
from support.tiny_training import TINY_MODEL, write_model

TEXTS = ["a red square", "two green squares above a very large blue one", "white"]
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 16}
TIMM_VIT = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear"}
TIMM_CONVOLUTIONAL = TIMM_VIT | {"image_size": 32, "timm_model_name": "convnext_atto", "timm_pool": "avg"}
CUSTOM_TEXT = {"custom_text": True, "text_cfg": TINY_MODEL["text_cfg"] | {"no_causal_mask": True}}
TOWERS = {
    "vit": {},
    "resnet": {"vision_cfg": RESNET},
    "timm_vit": {"vision_cfg": TIMM_VIT},
    "timm_convolutional": {"vision_cfg": TIMM_CONVOLUTIONAL},
    "custom_text": CUSTOM_TEXT,
}


def make(tmp_path: Path, name: str) -> open_clip.CLIP:
    torch.manual_seed(0)
    return create_clip(str(write_model(tmp_path / f"tokens_{name}.json", **TOWERS[name])))


@pytest.mark.parametrize("name", TOWERS)
def test_tokens_of_both_towers_carry_gradients(tmp_path: Path, name: str):
    clip = make(tmp_path, name)
    size = clip.preprocess_cfg["size"]
    size = (size, size) if isinstance(size, int) else size
    tap = TokenTap(clip.module)
    image = encode_image(clip.module.train(), torch.rand(2, 3, *size))
    tokens = trim(clip.module, clip.tokenizer(TEXTS))
    text = encode_text(clip.module, tokens)
    assert (image.shape[1], text.shape[1]) == (16, 16)
    assert (tap.image.grid.shape[1], tap.text.shape[2]) == token_widths(clip.module, clip.preprocess_cfg)
    features, is_shown = last_text_tokens(clip.module, tokens, tap.text, 4)
    assert features.shape[:2] == is_shown.shape == (3, 4)
    (tap.image.grid.square().sum() + tap.image.whole.sum() + features[is_shown].square().sum()).backward()
    reached = [name for name, p in clip.module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any(name.startswith("visual") for name in reached) and any("embedding" in name for name in reached)
    before = tap.image
    with torch.no_grad():
        encode_image(clip.module, torch.rand(2, 3, *size))
    assert tap.image is before
    tap.remove()
    encode_image(clip.module, torch.rand(2, 3, *size))
    assert tap.image is before


def test_a_vits_tokens_are_those_that_its_embedding_is_made_of(tmp_path: Path):
    clip = make(tmp_path, "vit")
    tap, visual = TokenTap(clip.module), clip.module.visual
    embedding = encode_image(clip.module, torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(F.normalize(visual.ln_post(tap.image.whole) @ visual.proj, dim=-1), embedding)
    tokens = trim(clip.module, clip.tokenizer(TEXTS))
    embedding = encode_text(clip.module, tokens)
    features, is_shown = last_text_tokens(clip.module, tokens, tap.text, 30)
    end = features[torch.arange(3), is_shown.sum(1) - 1]
    torch.testing.assert_close(F.normalize(clip.module.ln_final(end) @ clip.module.text_projection, dim=-1), embedding)


def test_the_last_tokens_of_a_text_are_kept_without_its_start(tmp_path: Path):
    module = make(tmp_path, "vit").module
    tokens = torch.tensor([[49406, 5, 6, 7, 49407, 0], [49406, 5, 49407, 0, 0, 0]])
    features = torch.arange(12.0).view(2, 6, 1)
    kept, is_shown = last_text_tokens(module, tokens, features, 3)
    assert kept[0, :, 0].tolist() == [2, 3, 4] and is_shown[0].all()
    assert kept[1, :2, 0].tolist() == [7, 8] and is_shown[1].tolist() == [True, True, False]


def test_a_regions_tokens_are_means_of_the_features_within_it():
    grid = Grid(torch.arange(16.0).view(1, 1, 4, 4).expand(2, 3, 4, 4).clone(), torch.full((2, 3), -1.0))
    boxes = torch.tensor([WHOLE, (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 1.0)])
    tokens = region_tokens(grid, torch.tensor([0, 1, 1]), boxes, 1)
    assert tokens.shape == (3, 2, 3) and (tokens[:, 0] == -1).all()
    means = tokens[:, 1, 0]
    assert means[0] == pytest.approx(7.5, abs=0.3)
    assert means[1] < means[0] < means[2]  # the upper left is low, the right half is high


def test_a_model_that_drops_patches_is_refused(tmp_path: Path):
    vision = TINY_MODEL["vision_cfg"] | {"patch_dropout": 0.5}
    clip = create_clip(str(write_model(tmp_path / "dropping.json", vision_cfg=vision)))
    tap = TokenTap(clip.module)
    with pytest.raises(InputError, match="drops patches"):
        encode_image(clip.module.train(), torch.rand(2, 3, 16, 16))
    assert tap.image is None


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("squash", [0.25, 0.5, 0.75, 1.0]),
        ("shortest", [0.0, 0.5, 1.0, 1.0]),  # the view is the middle half of the width
        ("longest", [0.25, 0.5, 0.75, 0.75]),  # above and below a quarter is padding
    ],
)
def test_boxes_follow_the_resizing(mode: str, expected: list[float]):
    boxes = np.array([[50, 50, 100, 50]])  # of an image of 200 x 100
    seen = boxes_in_view(boxes, np.array([200]), np.array([100]), {"size": (16, 16), "resize_mode": mode})
    np.testing.assert_allclose(seen, [expected], atol=1e-6)


def test_a_box_that_is_cropped_away_is_empty():
    seen = boxes_in_view(
        np.array([[0, 0, 20, 100]]), np.array([300]), np.array([100]), {"size": 16, "resize_mode": "shortest"}
    )
    assert seen[0, 0] == seen[0, 2] == 0
