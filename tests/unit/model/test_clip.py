"""Models are plain open_clip models: what we trim, cut and preprocess leaves their outputs as they are."""

import io
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from evenclip.errors import InputError
from evenclip.model.clip import Clip, create_clip, load_clip, save_clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.towers import NarrowVocabulary, encode_image, encode_text, has_causal_text, trim
from support.tiny_training import TINY_MODEL, square_jpeg, write_model

TEXTS = ["a red square", "two green squares above a very large blue one", "white"]


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    torch.manual_seed(0)
    return create_clip(str(write_model(tmp_path / "tiny.json")))


def test_trimmed_captions_have_the_features_of_the_full_context(clip: Clip):
    tokens = clip.tokenizer(TEXTS)
    trimmed = trim(clip.module, tokens)
    assert trimmed.shape[1] < tokens.shape[1]
    expected = clip.module.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode_text(clip.module, trimmed), expected, atol=1e-6, rtol=1e-5)


def test_texts_that_begin_alike_have_the_features_of_each(clip: Clip):
    texts = [*TEXTS, "a red", "a red square", "a red square above a white one", "a", "white square"]
    tokens = clip.tokenizer(texts)
    with torch.no_grad():
        expected = clip.module.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encode_text(clip.module, tokens), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(encode_text(clip.module, trim(clip.module, tokens)), expected, atol=1e-6, rtol=1e-5)


def test_other_text_towers_get_the_tokens_as_they_are(tmp_path: Path):
    text = TINY_MODEL["text_cfg"] | {"no_causal_mask": True}
    module = create_clip(str(write_model(tmp_path / "two_way.json", text_cfg=text, custom_text=True))).module
    tokens = open_clip.SimpleTokenizer(context_length=12)(TEXTS)
    assert not has_causal_text(module)
    assert trim(module, tokens) is tokens
    NarrowVocabulary(module, tokens).widen()
    torch.testing.assert_close(encode_text(module, tokens), module.encode_text(tokens, normalize=True))


def test_a_narrow_vocabulary_keeps_features_and_unused_rows(clip: Clip):
    tokens = clip.tokenizer(TEXTS)
    before, full = encode_text(clip.module, tokens), clip.module.token_embedding.weight.detach().clone()
    vocabulary = NarrowVocabulary(clip.module, tokens)
    assert clip.module.token_embedding.num_embeddings == len(tokens.unique())
    torch.testing.assert_close(encode_text(clip.module, vocabulary.narrow(tokens)), before, atol=0, rtol=0)
    with torch.no_grad():
        clip.module.token_embedding.weight += 1
    vocabulary.widen()
    changed = (clip.module.token_embedding.weight != full).any(dim=1).nonzero().flatten()
    assert torch.equal(changed, tokens.unique())


def test_training_with_a_narrow_vocabulary_changes_nothing(tmp_path: Path):
    """Same losses and same used rows as dense AdamW without decay over all 49,408 rows."""
    results = []
    for narrow in (False, True):
        torch.manual_seed(0)
        clip = create_clip(str(write_model(tmp_path / "tiny.json")))
        tokens = clip.tokenizer(TEXTS)
        vocabulary = NarrowVocabulary(clip.module, tokens) if narrow else None
        inputs = vocabulary.narrow(tokens) if narrow else tokens
        optimizer = torch.optim.AdamW(clip.module.parameters(), lr=1e-2, weight_decay=0)
        for _ in range(3):
            F.mse_loss(encode_text(clip.module, inputs), torch.eye(3, 16)).backward()
            optimizer.step()
            optimizer.zero_grad()
        if narrow:
            vocabulary.widen()
        results.append(clip.module.token_embedding.weight.detach())
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_plain_open_clip_loads_a_saved_model(clip: Clip, tmp_path: Path, objective: str):
    model = create_clip(str(write_model(tmp_path / "tiny.json")), objective=objective)
    save_clip(model, tmp_path, objective=objective)
    plain, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    jpeg = square_jpeg("red", np.random.default_rng(0))
    image = transform(Image.open(io.BytesIO(jpeg))).unsqueeze(0)
    loaded = load_clip(str(tmp_path))
    ((_, pixels),) = decode_images([("a", jpeg)], loaded.preprocess_cfg, "here")
    ours = normalise(torch.tensor(pixels).unsqueeze(0), loaded.preprocess_cfg)
    assert torch.equal(ours, image)
    with torch.inference_mode():
        torch.testing.assert_close(encode_image(loaded.module, ours), plain.eval().encode_image(image, normalize=True))
        expected = plain.encode_text(tokenizer(TEXTS), normalize=True)
        torch.testing.assert_close(encode_text(loaded.module, tokenizer(TEXTS)), expected, atol=1e-6, rtol=1e-5)
    assert (loaded.logit_bias is not None) == (objective == "siglip")
    assert json.loads((tmp_path / "model.json").read_text())["objective"] == objective


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (16, 16), (9, 70)])
@pytest.mark.parametrize("settings", [{}, {"resize_mode": "squash"}, {"resize_mode": "longest", "fill_color": 128}])
def test_decoded_images_are_those_of_open_clips_preprocessing(clip: Clip, size: tuple[int, int], settings: dict):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)).save(buffer, "JPEG")
    config = clip.preprocess_cfg | settings
    arguments = {key: config[key] for key in ("mean", "std", "interpolation", "resize_mode", "fill_color")}
    expected = open_clip.image_transform(config["size"], is_train=False, **arguments)(Image.open(buffer))
    ((_, pixels),) = decode_images([("a", buffer.getvalue())], config, "here")
    assert torch.equal(normalise(torch.tensor(pixels).unsqueeze(0), config)[0], expected)


def test_a_checkpoint_loads_with_its_configuration_file(clip: Clip, tmp_path: Path):
    path = tmp_path / "tiny.pt"
    torch.save({"state_dict": clip.module.state_dict()}, path)
    for name in (str(path), f"{tmp_path / 'tiny.json'}:{path}"):
        assert torch.equal(load_clip(name).module.text_projection, clip.module.text_projection)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ViT-B-33:openai", "did you mean ViT-B-32"),
        ("ViT-B-32:no_such_tag", "no_such_tag"),
        ("nowhere", "not a trained model"),
        ("nowhere.json:x.pt", "no such file"),
        (".", "no weights in it"),
    ],
)
def test_what_cannot_be_loaded_is_named(model: str, message: str):
    with pytest.raises(InputError, match=message):
        load_clip(model)


def test_a_model_of_the_hub_is_left_to_open_clip(clip: Clip, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def create(name: str, **settings: object) -> torch.nn.Module:
        asked.append((name, settings))
        return clip.module

    monkeypatch.setattr(open_clip, "create_model", create)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: (name, clip.tokenizer)[1])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: clip.model_cfg if name == "hf-hub:org/x" else None)
    loaded = load_clip("hf-hub:org/x")
    assert asked == [("hf-hub:org/x", {"require_pretrained": True})]
    assert loaded.module is clip.module and loaded.model_cfg == clip.model_cfg


def test_an_unreachable_model_of_the_hub_is_one_error(monkeypatch: pytest.MonkeyPatch):
    def offline(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "get_model_config", offline)
    with pytest.raises(InputError, match="no network"):
        load_clip("hf-hub:org/x")


def test_an_unknown_key_of_a_configuration_is_named(tmp_path: Path):
    path = write_model(tmp_path / "odd.json", vision_cfg=TINY_MODEL["vision_cfg"] | {"widht": 3})
    with pytest.raises(InputError, match="widht"):
        create_clip(str(path))


def test_a_damaged_image_is_named(clip: Clip):
    jpeg = square_jpeg("red", np.random.default_rng(0))
    with pytest.raises(InputError, match="shards, key b"):
        list(decode_images([("a", jpeg), ("b", jpeg[:200])], clip.preprocess_cfg, "shards"))


def test_a_checkpoint_brings_its_preprocessing(clip: Clip, tmp_path: Path):
    odd = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear"}
    folder = tmp_path / "run"
    folder.mkdir()
    save_clip(Clip(clip.module, clip.tokenizer, clip.model_cfg, clip.preprocess_cfg | odd), folder)
    again = create_clip(str(tmp_path / "tiny.json"), str(folder / "model.safetensors"))
    assert [tuple(again.preprocess_cfg[key]) for key in ("mean", "std")] == [odd["mean"], odd["std"]]
    assert again.preprocess_cfg["interpolation"] == "bilinear"
    assert again.preprocess_cfg["size"] == clip.preprocess_cfg["size"]
    assert load_clip(str(folder)).preprocess_cfg == again.preprocess_cfg


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quick_gelu": True}, "trained with quick_gelu False, the model has True"),
        ({"vision_cfg": TINY_MODEL["vision_cfg"] | {"image_size": 24}}, r"image_size \(16, 16\), the model has"),
    ],
)
def test_a_checkpoint_of_another_activation_or_size_is_refused(clip: Clip, tmp_path: Path, change: dict, message: str):
    save_clip(clip, tmp_path)
    with pytest.raises(InputError, match=message):
        create_clip(str(write_model(tmp_path / "other.json", **change)), str(tmp_path / "model.safetensors"))


def test_a_folder_with_another_preprocessing_size_is_refused(clip: Clip, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    save_clip(Clip(clip.module, clip.tokenizer, clip.model_cfg, clip.preprocess_cfg | {"size": [32, 32]}), folder)
    with pytest.raises(InputError, match=r"size \(32, 32\), the model has \(16, 16\)"):
        load_clip(str(folder))


@pytest.mark.parametrize("training", [True, False])
def test_a_trimmed_last_block_keeps_features_and_gradients(clip: Clip, training: bool):
    module = clip.module.train(training)
    tokens, images = clip.tokenizer(TEXTS * 30), torch.rand(5, 3, 16, 16)
    last = (module.visual.transformer.resblocks[-1].ln_2, module.transformer.resblocks[-1].ln_2)
    results = []
    for observe in (False, True):
        shapes: list[torch.Size] = []

        def listen(_layer, _inputs, output, heard=shapes) -> None:
            heard.append(output.shape)

        module.zero_grad()
        hooks = [layer.register_forward_hook(listen) for layer in last if observe]
        image, text = encode_image(module, images), encode_text(module, trim(module, tokens))
        (image.square() @ torch.ones(16, 1)).sum().add(text.cos().sum() + image.cos().sum()).backward()
        results.append((image, text, *(p.grad.clone() for p in module.parameters() if p.grad is not None)))
        if observe:  # who listens hears all positions
            assert shapes == [(5, 5, 32), (90, trim(module, tokens).shape[1], 32)]
        for hook in hooks:
            hook.remove()
    assert len(results[0]) == len(results[1])
    for cheap, whole in zip(*results, strict=True):
        torch.testing.assert_close(cheap, whole, atol=1e-4, rtol=1e-4)
    for block in (module.visual.transformer.resblocks[-1], module.transformer.resblocks[-1]):
        assert "forward" not in vars(block)
