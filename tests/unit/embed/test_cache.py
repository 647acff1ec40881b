"""The cache of embeddings: equal to plain embedding, nothing is computed twice, nothing stale is read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.embed import EmbedOptions, EmbedSet, embed_sets
from evenclip.embed import run as embed_arrays
from evenclip.embed.cache import EmbeddingCache
from evenclip.errors import InputError
from evenclip.model.clip import create_clip, save_clip
from evenclip.model.identity import model_identity
from support.tiny_training import write_model, write_squares

PROMPTS = "templates: ['a {} square']\nclasses: {red: [red], blue: [blue]}\n"
OPTIONS = EmbedOptions(device="cpu")


def save_run(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    folder.mkdir()
    save_clip(create_clip(str(write_model(folder / "tiny.json"))), folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    save_run(root / "run", 0)
    write_squares(root / "data", 6)
    (root / "colors.yaml").write_text(PROMPTS)
    return root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is embedded from here on."""
    done: list[str] = []
    for name in ("embed_data", "embed_prompts"):
        whole = getattr(embed_arrays, name)
        monkeypatch.setattr(embed_arrays, name, lambda *a, name=name, whole=whole: (done.append(name), whole(*a))[1])
    return done


def test_the_cached_arrays_are_those_of_embed(root: Path, tmp_path: Path):
    files = EmbeddingCache(tmp_path / "cache", str(root / "run"), OPTIONS).files(root / "data", [root / "colors.yaml"])
    embed_sets({str(root / "run"): tmp_path / "out"}, [EmbedSet("s", root / "data", (root / "colors.yaml",))], OPTIONS)
    plain = dict(np.load(tmp_path / "out" / "s.npz"))
    cached = {name: array for file in files for name, array in np.load(file).items()}
    assert set(cached) == set(plain)
    for name, array in plain.items():
        np.testing.assert_array_equal(cached[name], array)


def test_new_prompts_do_not_embed_the_images_again(root, tmp_path, counted):
    cache = EmbeddingCache(tmp_path / "cache", str(root / "run"), OPTIONS)
    first = cache.files(root / "data", [root / "colors.yaml"])
    assert counted == ["embed_data", "embed_prompts"]
    again = EmbeddingCache(tmp_path / "cache", str(root / "run"), OPTIONS.model_copy(update={"threads": 2}))
    assert again.files(root / "data", [root / "colors.yaml"]) == first and len(counted) == 2
    (tmp_path / "more.yaml").write_text(PROMPTS.replace("square", "box"))
    cache.files(root / "data", [root / "colors.yaml", tmp_path / "more.yaml"])
    assert counted[2:] == ["embed_prompts"]


def test_other_models_data_prompts_or_precision_embed_again(root, tmp_path, counted):
    def files(run: Path = root / "run", data: Path = root / "data", text: str = PROMPTS, **options: str) -> list[Path]:
        (tmp_path / "colors.yaml").write_text(text)
        cache = EmbeddingCache(tmp_path / "cache", str(run), EmbedOptions(device="cpu", **options))
        return cache.files(data, [tmp_path / "colors.yaml"])

    save_run(tmp_path / "other", 1)
    write_squares(tmp_path / "data", 7)
    made = [files(), files(run=tmp_path / "other"), files(data=tmp_path / "data"), files(precision="bf16"),
            files(text=PROMPTS.replace("red]", "crimson]"))]  # fmt: skip
    images, prompts = ([embedding[i] for embedding in made] for i in (0, 1))
    assert len(set(images)) == 4 and images[0] == images[4]  # the last differs in its prompts
    assert len(set(prompts)) == 4 and prompts[0] == prompts[2]  # the third in its data
    assert len(counted) == 8


def test_architecture_and_preprocessing_are_part_of_the_identity(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"weights")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text('{"embed_dim": 8}')
    identities = [model_identity(f"{name}:{tmp_path}/x.pt")
                  for name in ("ViT-B-32", "ViT-B-16", tmp_path / "a.json", tmp_path / "b.json")]  # fmt: skip
    (tmp_path / "open_clip_config.json").write_text('{"preprocess_cfg": {"mean": [0, 0, 0]}}')
    identities.append(model_identity(f"ViT-B-32:{tmp_path}/x.pt"))
    identities += [model_identity("ViT-B-32:openai"), model_identity("ViT-B-16:openai")]
    assert len({str(identity) for identity in identities}) == 7


def test_a_copied_model_is_the_same_model(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.pt").write_bytes(b"weights")
        (tmp_path / folder / "x.json").write_text("{}")
    assert model_identity(f"{tmp_path}/one/x.pt") == model_identity(f"{tmp_path}/two/x.pt")
    assert model_identity(f"{tmp_path}/one/x.json:{tmp_path}/one/x.pt") == model_identity(f"{tmp_path}/two/x.pt")


def test_a_full_cache_needs_no_torch(root: Path, tmp_path: Path):
    EmbeddingCache(tmp_path, str(root / "run"), OPTIONS).files(root / "data", [root / "colors.yaml"])
    code = f"""
import sys
from pathlib import Path
from evenclip.embed import EmbedOptions
from evenclip.embed.cache import EmbeddingCache
root = Path({str(root)!r})
cache = EmbeddingCache(Path({str(tmp_path)!r}), str(root / "run"), EmbedOptions(device="cpu"))
cache.files(root / "data", [root / "colors.yaml"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("model", "data", "message"), [
    ("nothing", "data", "is not a trained model"),
    ("nothing:here", "data", "open_clip knows no model 'nothing'"),
    ("run", "none", "not a data folder"),
])  # fmt: skip
def test_what_cannot_be_embedded_is_one_clear_error(root, tmp_path, monkeypatch, model, data, message):
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=message):
        EmbeddingCache(tmp_path / "cache", model, OPTIONS).files(root / data, [])
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
