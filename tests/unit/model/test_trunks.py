"""A tower is its trunk and its projection: apart they compute what they compute together."""

from pathlib import Path

import pytest
import torch

from evenclip.errors import InputError
from evenclip.model.clip import Clip, create_clip, load_clip, save_clip
from evenclip.model.identity import model_identity
from evenclip.model.towers import encode_image, encode_text, freeze_towers, padding_token, trunk_parameters
from evenclip.model.trunks import KnownTexts, ProjectionClip, draw_projections, without_projections
from support.tiny_training import TINY_MODEL, write_model

TEXTS = ["a red square", "two green squares above a very large blue one", "white"]
TIMM = {"timm_model_name": "test_vit", "timm_proj": "mlp", "image_size": 160}
TOWERS = {
    "plain": {},
    "own_text_tower": {"custom_text": True},
    "biased": {"custom_text": True, "text_cfg": TINY_MODEL["text_cfg"] | {"proj_bias": True}},
    "timm": {"vision_cfg": TIMM},
    "timm_classifier": {"vision_cfg": TIMM | {"timm_proj": None}},
}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}


def make_clip(folder: Path, name: str, **changes: object) -> Clip:
    torch.manual_seed(0)
    clip = create_clip(str(write_model(folder / f"{name}.json", **changes)))
    clip.module.eval()
    return clip


@torch.no_grad()
def make_projections(clip: Clip) -> tuple[ProjectionClip, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The projections alone, images, their trunk features, and tokens of texts whose trunk features they know."""
    images, tokens = torch.rand(3, 3, *clip.preprocess_cfg["size"]), clip.tokenizer(TEXTS)
    texts = KnownTexts(padding_token(clip.module))
    with without_projections(clip.module):
        texts.add(tokens, encode_text(clip.module, tokens, unit=False))
        features = encode_image(clip.module, images, unit=False)
    return ProjectionClip(clip.module, texts), images, features, tokens


@pytest.mark.parametrize("name", TOWERS)
def test_projections_on_trunk_features_embed_as_the_whole_model(tmp_path: Path, name: str):
    clip = make_clip(tmp_path, name, **TOWERS[name])
    projections, images, features, tokens = make_projections(clip)
    torch.testing.assert_close(encode_image(projections, features), encode_image(clip.module, images))
    torch.testing.assert_close(encode_text(projections, tokens[[2, 0]]), encode_text(clip.module, tokens[[2, 0]]))


@pytest.mark.parametrize("name", TOWERS)
def test_projections_bear_their_names_of_the_whole_model(tmp_path: Path, name: str):
    clip = make_clip(tmp_path, name, **TOWERS[name])
    projections, *_ = make_projections(clip)
    whole = clip.module.state_dict()
    state = {name: value.clone() for name, value in projections.whole_state().items()}
    assert len(state) >= 3 and all(torch.equal(whole[name], value) for name, value in state.items())
    with torch.no_grad():
        projections.logit_scale += 1
    projections.load_whole_state(state)
    assert projections.logit_scale == clip.module.logit_scale


@pytest.mark.parametrize("name", TOWERS)
def test_a_frozen_trunk_leaves_the_projection_to_train(tmp_path: Path, name: str):
    clip = make_clip(tmp_path, name, **TOWERS[name])
    freeze_towers(clip.module.train(), ["image_trunk", "text_trunk"])
    trained = {name for name, parameter in clip.module.named_parameters() if parameter.requires_grad}
    projections, *_ = make_projections(clip)
    assert trained == set(projections.whole_state())
    (encode_image(clip.module, torch.rand(2, 3, *clip.preprocess_cfg["size"])) ** 2)[:, 0].sum().backward()
    assert all(clip.module.get_parameter(name).grad is not None for name in trained if name.startswith("visual"))


BLOCKS = {"image": {"plain": 1, "timm": 6}, "text": {"plain": 1, "timm": 1}}


@pytest.mark.parametrize("tower", BLOCKS)
@pytest.mark.parametrize("name", ["plain", "timm"])
def test_last_blocks_of_a_frozen_trunk_are_trained(tmp_path: Path, name: str, tower: str):
    clip = make_clip(tmp_path, name, **TOWERS[name])
    n_blocks, before = BLOCKS[tower][name], {n for n, p in clip.module.named_parameters() if p.requires_grad}
    freeze_towers(clip.module.train(), [f"{tower}_trunk"], {tower: 1})
    frozen = {n for n, p in clip.module.named_parameters() if not p.requires_grad}
    blocks = "blocks." if name == "timm" and tower == "image" else "resblocks."
    assert all(n.rpartition(blocks)[2].split(".")[0] != str(n_blocks - 1) for n in frozen if blocks in n)
    assert any(blocks in n for n in frozen) == (n_blocks > 1)
    assert frozen and not any("ln_post" in n or "ln_final" in n or ".norm." in n for n in frozen) and frozen < before
    with pytest.raises(InputError, match=f"has {n_blocks + (name == 'timm' and tower == 'image')} blocks"):
        freeze_towers(clip.module, [f"{tower}_trunk"], {tower: 99})


def test_last_blocks_of_a_convolutional_trunk_are_trained(tmp_path: Path):
    vision = {"timm_model_name": "test_efficientnet", "timm_proj": "linear", "timm_pool": "avg", "image_size": 32}
    clip = make_clip(tmp_path, "efficientnet", vision_cfg=vision)
    freeze_towers(clip.module.train(), ["image_trunk"], {"image": 1})
    trunk = clip.module.visual.trunk
    assert trunk.conv_head.weight.requires_grad and trunk.bn2.weight.requires_grad
    assert not trunk.bn2.training  # its statistics stay
    assert not trunk.conv_stem.weight.requires_grad and not trunk.bn1.training


@pytest.mark.parametrize("name", TOWERS)
def test_trunks_and_projections_are_all_of_a_model(tmp_path: Path, name: str):
    clip = make_clip(tmp_path, name, **TOWERS[name])
    projections, *_ = make_projections(clip)
    trunks = [id(p) for tower in ("image", "text") for p in trunk_parameters(clip.module, tower)]
    projected = [id(clip.module.get_parameter(n)) for n in projections.whole_state()]
    assert sorted(trunks + projected) == sorted(id(p) for p in clip.module.parameters())
    assert trunk_parameters(projections, "image") == []


def test_drawn_projections_follow_the_seed_alone(tmp_path: Path):
    clips = [make_clip(tmp_path, name) for name in ("a", "b")]
    torch.rand(7)
    draw_projections(clips[0].module, 3)
    before = torch.rand(1)
    torch.manual_seed(0)
    draw_projections(clips[1].module, 3)
    assert torch.equal(clips[0].module.visual.proj, clips[1].module.visual.proj)
    assert torch.equal(clips[0].module.text_projection, clips[1].module.text_projection)
    assert before != torch.rand(1)
    draw_projections(clips[1].module, 4)
    assert not torch.equal(clips[0].module.visual.proj, clips[1].module.visual.proj)


def test_a_tower_without_a_projection_of_its_own_is_refused(tmp_path: Path):
    clip = make_clip(tmp_path, "resnet", vision_cfg=RESNET)
    with pytest.raises(InputError, match="image tower has no projection"):
        freeze_towers(clip.module, ["image_trunk"])


def test_known_texts_are_found_whatever_padding_they_have():
    texts = KnownTexts(pad_id=0)
    tokens = torch.tensor([[5, 6, 0, 0], [5, 6, 7, 0], [6, 5, 0, 0]])
    texts.add(tokens[:2], torch.tensor([[1.0], [2.0]]))
    texts.add(tokens, torch.tensor([[9.0], [9.0], [3.0]]))  # what is known stays
    assert texts.features(tokens[:, :3]).flatten().tolist() == [1, 2, 3]
    assert texts.features(tokens[[2, 0]]).flatten().tolist() == [3, 1]
    assert texts.contains(torch.tensor([[6, 5], [5, 5]])).tolist() == [True, False]
    with pytest.raises(InputError, match="no cached features"):
        texts.features(torch.tensor([[5, 5]]))


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_saved_projections_load_with_their_trunks(tmp_path: Path, objective: str):
    write_model(tmp_path / "tiny.json")
    clip = create_clip(str(tmp_path / "tiny.json"))
    for folder in ("trunks", "run"):
        (tmp_path / folder).mkdir()
    save_clip(clip, tmp_path / "trunks")
    whole = load_clip(str(tmp_path / "trunks"), objective)
    draw_projections(whole.module, 7)
    projections, *_ = make_projections(whole)
    alone = Clip(projections, whole.tokenizer, whole.model_cfg, whole.preprocess_cfg, str(tmp_path / "trunks"))
    save_clip(alone, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    for folder in ("trunks", "run"):
        (tmp_path / folder).rename(tmp_path / "elsewhere" / folder)
    loaded = load_clip(str(tmp_path / "elsewhere" / "run")).module.state_dict()
    assert loaded.keys() == whole.module.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in whole.module.state_dict().items())
    assert str(tmp_path) not in (tmp_path / "elsewhere" / "run" / "trunks.json").read_text()
    assert "trunks" in model_identity(str(tmp_path / "elsewhere" / "run"))


def test_projections_without_their_trunks_are_one_clear_error(tmp_path: Path):
    clip = make_clip(tmp_path, "tiny")
    for folder in ("trunks", "run"):
        (tmp_path / folder).mkdir()
    save_clip(clip, tmp_path / "trunks")
    projections, *_ = make_projections(clip)
    alone = Clip(projections, clip.tokenizer, clip.model_cfg, clip.preprocess_cfg, str(tmp_path / "trunks"))
    save_clip(alone, tmp_path / "run")
    draw_projections(clip.module, 1)
    save_clip(clip, tmp_path / "trunks")
    with pytest.raises(InputError, match="not the model that its projections were trained on"):
        load_clip(str(tmp_path / "run"))
    (tmp_path / "trunks").rename(tmp_path / "gone")
    with pytest.raises(InputError, match="is not at"):
        load_clip(str(tmp_path / "run"))
