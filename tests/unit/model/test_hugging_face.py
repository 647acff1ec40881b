"""Text towers of Hugging Face: random if asked, trimmed, saved with their tokenizer, loaded from any folder."""

import json
from pathlib import Path

import open_clip
import pytest
import torch

from evenclip.errors import InputError
from evenclip.model import clip as clip_module
from evenclip.model.clip import Clip, create_clip, load_clip, save_clip
from evenclip.model.identity import model_files, model_identity
from evenclip.model.towers import encode_text, freeze_towers, text_lengths, trim
from evenclip.train.method_options import EfficientClOptions
from evenclip.train.methods.efficientcl import HiddenAugmentation
from support.tiny_training import write_model

TEXTS = ["a red square", "two green squares above a blue one", "white"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "red",
    "square",
    "##s",
    "two",
    "green",
    "above",
    "blue",
    "one",
    "white",
]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT and its tokenizer, as a folder; saved weights of its own."""
    transformers = pytest.importorskip("transformers", reason="the extra 'photos' is not installed")
    folder = tmp_path_factory.mktemp("tower")
    (folder / "words.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), **sizes)
    torch.manual_seed(9)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def write_config(folder: Path, tower: Path) -> Path:
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "context_length": 16}
    return write_model(
        folder / "bert.json", text_cfg=text | {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"}
    )


@pytest.fixture
def clip(tmp_path: Path, tower: Path) -> Clip:
    torch.manual_seed(0)
    return create_clip(str(write_config(tmp_path, tower)))


def test_random_weights_are_random(tmp_path: Path, tower: Path, clip: Clip):
    torch.manual_seed(0)
    again = create_clip(str(write_config(tmp_path, tower))).module.state_dict()
    torch.manual_seed(1)
    other = create_clip(str(write_config(tmp_path, tower))).module.state_dict()
    name = "text.transformer.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(again[name], clip.module.state_dict()[name])
    assert not torch.equal(other[name], again[name])


def test_texts_are_trimmed_with_the_same_features(clip: Clip):
    tokens, module = clip.tokenizer(TEXTS), clip.module.eval()
    trimmed = trim(module, tokens)
    assert tokens.shape[1] == 16 and trimmed.shape[1] == text_lengths(module, tokens).max() == 10
    expected = module.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode_text(module, trimmed), expected, atol=1e-6, rtol=1e-5)


def test_a_saved_model_loads_elsewhere_without_its_tower(clip: Clip, tmp_path: Path):
    (tmp_path / "run").mkdir()
    save_clip(clip, tmp_path / "run")
    for path in (tmp_path / "run").glob("*.json"):
        assert (
            str(tmp_path) not in path.read_text()
            and str(clip.model_cfg["text_cfg"]["hf_model_name"]) not in path.read_text()
        )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").rename(tmp_path / "elsewhere" / "run")
    loaded = load_clip(str(tmp_path / "elsewhere" / "run"))
    tokens = loaded.tokenizer(TEXTS)
    assert torch.equal(tokens, clip.tokenizer(TEXTS))
    assert torch.equal(encode_text(loaded.module.eval(), tokens), encode_text(clip.module.eval(), tokens))
    save_clip(loaded, tmp_path / "elsewhere" / "run")
    assert load_clip(str(tmp_path / "elsewhere" / "run")).model_cfg == loaded.model_cfg


def test_plain_open_clip_loads_a_saved_model(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run").mkdir()
    save_clip(clip, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")  # where the local name of the tower, ".", leads to its configuration
    plain = open_clip.create_model("local-dir:.", pretrained_text=False).eval()
    tokens = open_clip.get_tokenizer("local-dir:.")(TEXTS)
    with torch.inference_mode():
        expected = encode_text(clip.module.eval(), clip.tokenizer(TEXTS))
        torch.testing.assert_close(plain.encode_text(tokens, normalize=True), expected, atol=1e-6, rtol=1e-5)


def test_files_of_the_tower_are_part_of_the_identity(clip: Clip, tmp_path: Path):
    (tmp_path / "run").mkdir()
    save_clip(clip, tmp_path / "run")
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= model_files(str(tmp_path / "run")).keys()
    before = model_identity(str(tmp_path / "run"))
    config = json.loads((tmp_path / "run" / "tokenizer_config.json").read_text())
    (tmp_path / "run" / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    assert model_identity(str(tmp_path / "run")) != before


def test_a_folder_without_its_tokenizer_is_one_clear_error(clip: Clip, tmp_path: Path):
    (tmp_path / "run").mkdir()
    save_clip(clip, tmp_path / "run")
    (tmp_path / "run" / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="tokenizer is missing"):
        load_clip(str(tmp_path / "run"))


def test_a_frozen_trunk_drops_nothing_at_random(clip: Clip):
    freeze_towers(clip.module.train(), ["text_trunk"])
    tokens = clip.tokenizer(TEXTS)
    assert torch.equal(encode_text(clip.module, tokens), encode_text(clip.module, tokens))
    assert [name for name, p in clip.module.text.named_parameters() if p.requires_grad] == ["proj.weight"]


def test_efficientcl_cuts_embeddings_and_nothing_attends_to_them(clip: Clip):
    module, tokens = clip.module.eval(), clip.tokenizer(TEXTS)
    masks = []
    module.text.transformer.encoder.register_forward_pre_hook(
        lambda part, arguments, named: masks.append(arguments[0].detach()), with_kwargs=True
    )
    torch.manual_seed(0)
    options = EfficientClOptions(start=0.9, image_end=0, text_end=0.9)
    with HiddenAugmentation(options, module).applied(module, 0, 1):
        disturbed = encode_text(module, tokens)
    clean = encode_text(module, tokens)
    assert (disturbed - clean)[:2].abs().max() > 1e-3
    is_cut = (masks[0] == 0).all(dim=2)
    lengths = text_lengths(module, tokens)
    assert is_cut.sum(dim=1)[:2].gt(0).all() and not is_cut[:, 0].any() and not (masks[1] == 0).all(dim=2).any()
    assert not is_cut[torch.arange(3), lengths - 1].any()


def test_without_transformers_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip_module.importlib.util, "find_spec", lambda name: None)
    for model in ("roberta-ViT-B-32", "ViT-B-16-SigLIP"):
        with pytest.raises(InputError, match=r"transformers is not installed(.|\n)*evenclip\[photos\]"):
            create_clip(model)
