"""Embeddings are those of plain open_clip, in the order of the shards, with all that evaluations need beside them."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from evenclip.data.shard_writer import write_shards
from evenclip.data.shards import Part, iterate_images, read_pairs
from evenclip.embed import EmbedOptions, EmbedSet, embed_sets, inputs
from evenclip.errors import InputError
from evenclip.model.clip import create_clip, save_clip
from evenclip.provenance import Manifest
from support.tiny_training import square_jpeg, write_model, write_squares

N = 14
PROMPTS = """
templates: ["a {} square", "a picture of something {}"]
classes: {red: [red], green or blue: [green, blue], white: [white]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two sets, one of them with foils, and a prompt file."""
    root = tmp_path_factory.mktemp("embed")
    torch.manual_seed(0)
    (root / "run").mkdir()
    save_clip(create_clip(str(write_model(root / "tiny.json")), objective="siglip"), root / "run")
    write_squares(root / "plain", N)
    write_squares(root / "probes", N, foils=True)
    (root / "colors.yaml").write_text(PROMPTS)
    return root


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    sets = [EmbedSet("plain", folder / "plain", (folder / "colors.yaml",)), EmbedSet("probes", folder / "probes")]
    embed_sets({str(folder / "run"): folder / "out"}, sets, EmbedOptions(batch_size=5, device="cpu"))
    return {path.stem: dict(np.load(path)) for path in (folder / "out").glob("*.npz")}


@pytest.fixture(scope="module")
def plain(folder: Path):
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder / 'run'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'run'}")

    def texts(*captions: str) -> np.ndarray:
        with torch.inference_mode():
            return model.eval().encode_text(tokenizer(list(captions)), normalize=True).numpy()

    def image(jpeg: bytes) -> np.ndarray:
        with torch.inference_mode():
            return (
                model.eval()
                .encode_image(transform(Image.open(io.BytesIO(jpeg))).unsqueeze(0), normalize=True)[0]
                .numpy()
            )

    return texts, image


def test_each_part_is_a_block_of_the_whole_set(folder: Path, files: dict):
    sets, model = [EmbedSet("probes", folder / "probes")], str(folder / "run")
    keys = []
    for number in (1, 2, 3):
        out = folder / f"part{number}"
        parts = {model: Part(number, 3)}
        embed_sets({model: out}, sets, EmbedOptions(batch_size=5, device="cpu"), parts=parts)
        part, whole = dict(np.load(out / "probes.npz")), files["probes"]
        assert len(part["key"]) == N // 3
        rows = [whole["key"].tolist().index(key) for key in part["key"].tolist()]
        np.testing.assert_allclose(part["image"], whole["image"][rows], atol=2e-6)
        np.testing.assert_allclose(part["foil"], whole["foil"][rows], atol=2e-6)
        assert json.loads((out / "manifest.json").read_text())["options"]["part"] == f"{number}/3"
        keys += part["key"].tolist()
    assert len(set(keys)) == len(keys)
    with pytest.raises(InputError, match="14 pairs cannot be cut into 15 parts"):
        embed_sets({model: folder / "none"}, sets, EmbedOptions(device="cpu"), parts={model: Part(1, 15)})


def test_embeddings_are_open_clips_in_the_order_of_the_shards(folder: Path, files: dict, plain):
    texts, image = plain
    pairs, embeddings = read_pairs(folder / "plain").to_pylist(), files["plain"]
    assert embeddings["key"].tolist() == [pair["key"] for pair in pairs]
    expected = np.stack([image(jpeg) for _, jpeg in iterate_images(folder / "plain")])
    np.testing.assert_allclose(embeddings["image"], expected, atol=2e-6)
    captions = [(i, text) for i, pair in enumerate(pairs) for text in pair["captions"]]
    assert embeddings["text_image"].tolist() == [i for i, _ in captions]
    np.testing.assert_allclose(embeddings["text"], texts(*(text for _, text in captions)), atol=2e-6)
    assert embeddings["image"].dtype == embeddings["text"].dtype == np.float32


def test_the_number_of_threads_changes_no_bit(folder: Path, files: dict):
    sets = [EmbedSet("plain", folder / "plain", (folder / "colors.yaml",))]
    embed_sets({str(folder / "run"): folder / "threads"}, sets, EmbedOptions(batch_size=5, device="cpu", threads=3))
    for name, array in np.load(folder / "threads" / "plain.npz").items():
        assert np.array_equal(array, files["plain"][name]), name


@pytest.mark.parametrize("kept_mb", [1, 0])
def test_models_together_are_as_each_alone(folder: Path, files: dict, monkeypatch, kept_mb: float):
    decoded, decode = [], inputs.decode_images
    monkeypatch.setattr(inputs, "decode_images", lambda *arguments: decoded.append(arguments[2]) or decode(*arguments))
    monkeypatch.setattr(inputs, "KEPT_MB", kept_mb)
    torch.manual_seed(1)
    (folder / "other").mkdir(exist_ok=True)
    save_clip(create_clip(str(folder / "tiny.json"), objective="siglip"), folder / "other")
    sets = [EmbedSet("plain", folder / "plain", (folder / "colors.yaml",))]
    models = {str(folder / name): folder / f"together_{name}" for name in ("run", "other")}
    embed_sets(models, sets, EmbedOptions(batch_size=5, device="cpu"))
    assert len(decoded) == (1 if kept_mb else 2)
    embed_sets({str(folder / "other"): folder / "alone"}, sets, EmbedOptions(batch_size=5, device="cpu"))
    alone = {"run": files["plain"], "other": dict(np.load(folder / "alone" / "plain.npz"))}
    assert not np.array_equal(alone["run"]["image"], alone["other"]["image"])
    for name, out in zip(("run", "other"), models.values(), strict=True):
        together = dict(np.load(out / "plain.npz"))
        assert together.keys() == alone[name].keys()
        assert all(np.array_equal(together[key], array) for key, array in alone[name].items())


def test_prompts_average_the_names_of_a_class_per_template(files: dict, plain):
    texts, _ = plain
    prompts = files["plain"]["prompt/colors"]
    assert prompts.shape == (2, 3, 16) and prompts.dtype == np.float32
    assert files["plain"]["prompt/colors/classes"].tolist() == ["red", "green or blue", "white"]
    np.testing.assert_allclose(np.linalg.norm(prompts, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(prompts[0, 0], texts("a red square")[0], atol=2e-6)
    mean = texts("a picture of something green", "a picture of something blue").mean(axis=0)
    np.testing.assert_allclose(prompts[1, 1], mean / np.linalg.norm(mean), atol=2e-6)


def test_foils_are_embedded_where_the_set_has_them(files: dict, plain):
    texts, _ = plain
    assert "foil" not in files["plain"] and "prompt/colors" not in files["probes"]
    foil = files["probes"]["foil"]
    np.testing.assert_allclose(foil[0], texts("a green square")[0], atol=2e-6)
    assert np.isnan(foil[-1]).all() and not np.isnan(foil[:-1]).any()


def test_scale_bias_and_manifest_say_how_similarities_are_read(folder: Path, files: dict):
    assert float(files["plain"]["logit_scale"]) == pytest.approx(10)
    assert float(files["plain"]["logit_bias"]) == pytest.approx(-10)
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert set(manifest["inputs"]) >= {"model", "set plain", "set probes"}


def test_a_set_without_captions_has_no_text(folder: Path, tmp_path: Path):
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        writer.add("a", square_jpeg("red", np.random.default_rng(0)), [], {}, width=32, height=32, sha256="")
    embed_sets({str(folder / "run"): tmp_path / "out"}, [EmbedSet("x", tmp_path / "data")], EmbedOptions(device="cpu"))
    embeddings = np.load(tmp_path / "out" / "x.npz")
    assert embeddings["text"].shape == (0, 16) and embeddings["text_image"].shape == (0,)
    assert embeddings["image"].shape == (1, 16)


def test_a_set_is_given_as_an_argument():
    assert EmbedSet.from_argument("a=data/x") == EmbedSet("a", Path("data/x"))
    assert EmbedSet.from_argument("a=data/x:p.yaml,q.yaml").prompts == (Path("p.yaml"), Path("q.yaml"))
    for wrong in ("data/x", "=data", "a=", "a b=data"):
        with pytest.raises(InputError, match="NAME=DATA"):
            EmbedSet.from_argument(wrong)


@pytest.mark.parametrize(("text", "message"), [
    ("templates: [a]\nclasses: {b: [c]}", "templates"),
    ("", "classes"),
    ("templates: ['a {}']\nclasses: {b: [c], d: []}", "'classes.d'"),
    ("templates: ['a {}']\nclasses: {b: [c], d: ['']}", "'classes.d.0'"),
    ("templates: ['a {}']\nclasses: {b: [c], d: }", "'classes.d'"),
])  # fmt: skip
def test_a_prompt_file_that_names_no_class_is_an_error(folder: Path, tmp_path: Path, text: str, message: str):
    (tmp_path / "bad.yaml").write_text(text)
    sets = [EmbedSet("x", folder / "plain", (tmp_path / "bad.yaml",))]
    with pytest.raises(InputError, match=message):
        embed_sets({str(folder / "run"): tmp_path / "out"}, sets, EmbedOptions())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_data_folder_is_an_error(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="not a data folder"):
        embed_sets({str(folder / "run"): tmp_path / "out"}, [EmbedSet("x", tmp_path / "none")], EmbedOptions())


def test_a_shard_cut_between_two_pairs_is_never_embedded(folder: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(folder / "plain", data)
    tar = data / "00000.tar"
    with tarfile.open(tar) as archive:
        end = archive.getmembers()[len(archive.getmembers()) // N * (N // 2)].offset
    content = tar.read_bytes()
    for cut in (content[:end], content[:end] + bytes(1024), content[:end] + bytes(len(content) - end)):
        tar.write_bytes(cut)
        with pytest.raises(InputError, match=r"00000\.tar: it has"):
            embed_sets({str(folder / "run"): tmp_path / "out"}, [EmbedSet("x", data)], EmbedOptions(device="cpu"))
        assert not (tmp_path / "out").exists()


STRANGE_CAPTIONS = [
    "x" * 10_000, "word " * 3000, "nul \0 inside", "\U0001f600" * 200, "مرحبا بالعالم", "<start_of_text> a",
    "a &amp;lt;b&amp;gt;", "\u202ertl override", "'", "0", "NaN", "None", "null", "\ufdfd" * 100, "e\u0301" * 50, "\n",
]  # fmt: skip


def test_captions_that_no_tokenizer_likes_are_embedded(folder: Path, tmp_path: Path):
    jpeg = square_jpeg("red", np.random.default_rng(0))
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for i, caption in enumerate(STRANGE_CAPTIONS):
            writer.add(f"{i:02d}", jpeg, [caption], {}, width=32, height=32, sha256="")
    embed_sets({str(folder / "run"): tmp_path / "out"}, [EmbedSet("x", tmp_path / "data")], EmbedOptions(device="cpu"))
    text = np.load(tmp_path / "out" / "x.npz")["text"]
    assert text.shape == (len(STRANGE_CAPTIONS), 16)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)


def test_options_and_sets_load_without_torch():
    code = "import sys, evenclip.embed, evenclip.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
