"""Embedding files: what is written is read back, and anything wrong is one clear error, in every command alike."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from evenclip import embedding_files
from evenclip.embedding_files import read_embeddings, unit_rows, write_embeddings
from evenclip.errors import InputError
from evenclip.evaluate.reading import read_embedded_set
from evenclip.label import LabelOptions, label_dataset
from support.evaluate_example import arrays, truth_rows, unit, write_data

SOUND = arrays()


def save(folder: Path, **changes: np.ndarray | None) -> Path:
    """An .npz of `arrays` with changes; None takes an array away."""
    content = {name.replace("__", "/"): array for name, array in changes.items()}
    content = {name: array for name, array in (SOUND | content).items() if array is not None}
    np.savez(folder / "s.npz", **content)
    return folder / "s.npz"


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[2, 1] = np.nan
    return array


WRONG = [
    ({"key": None}, "the array 'key' is missing"),
    ({"image": None}, "the array 'image' is missing"),
    ({"text": None}, "the array 'text' is missing"),
    ({"text_image": None}, "the array 'text_image' is missing"),
    ({"prompt__objects__classes": None}, "the array 'prompt/objects/classes' is missing"),
    ({"prompt__objects": None}, "the array 'prompt/objects' is missing"),
    ({"imgae": SOUND["image"]}, "did you mean 'image'"),
    ({"image": SOUND["image"][:59]}, r"image: has shape \(59, 8\).*\(60, any\)"),
    ({"image": SOUND["image"][:, :0]}, r"image: has shape \(60, 0\)"),
    ({"image": SOUND["image"].astype(str)}, "should be numbers"),
    ({"image": SOUND["image"].astype(complex)}, "should be numbers"),
    ({"text": SOUND["text"][:, :7]}, r"text: has shape \(60, 7\).*\(60, 8\)"),
    ({"text": SOUND["text"][:50]}, r"text: has shape \(50, 8\)"),
    ({"text_image": np.arange(0)}, r"text: has shape \(60, 8\).*\(0, 8\)"),
    ({"foil": SOUND["foil"][0]}, r"foil: has shape \(8,\)"),
    ({"image": with_nan(SOUND["image"])}, "image, row 2: has NaN"),
    ({"image": SOUND["image"].astype(np.float64) * 1e300}, "image, row 0: has NaN or infinite"),
    ({"image": SOUND["image"] * 1e30}, "image, row 0: has a vector of length inf"),
    ({"foil": with_nan(SOUND["foil"])}, "foil, row 2: has NaN"),
    ({"image": SOUND["image"] * (np.arange(60) != 5)[:, None]}, "image, row 5: has a vector of length 0"),
    ({"text_image": np.arange(60) + 1}, "text_image: names a row outside 0 ... 59"),
    ({"text_image": np.arange(60) - 1}, "text_image: names a row outside"),
    ({"text_image": np.arange(60.0)}, "should be ints"),
    ({"key": np.arange(60)}, "key is not a list of strings"),
    ({"key": np.array([f"{i // 2:05d}" for i in range(60)])}, "the key '00000' occurs more than once"),
    ({"prompt__objects": SOUND["prompt/objects"][0]}, r"prompt/objects: has shape \(6, 8\).*\(any, 6, 8\)"),
    ({"prompt__objects": SOUND["prompt/objects"][:0]}, r"prompt/objects: has shape \(0, 6, 8\)"),
    ({"prompt__objects__classes": np.array(["a", "b", "", "d", "e", "f"])}, "not a list of non-empty class names"),
    ({"prompt__objects__classes": np.array(["a", "b", "a", "d", "e", "f"])}, "has a class twice"),
    ({"logit_scale": np.float32(0)}, "logit_scale: is not one positive number"),
    ({"logit_scale": np.array([1.0, 2.0])}, "logit_scale: is not one positive number"),
    ({"logit_scale": np.float32(np.nan)}, "logit_scale: is not one positive number"),
    ({"logit_bias": np.float32(np.inf)}, "logit_bias: is not one finite number"),
    ({"key": SOUND["key"].astype(object)}, "not a readable .npz without pickles"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_array_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_embeddings(save(tmp_path, **changes))


@pytest.mark.parametrize("changes", [{"text_image": np.arange(60) + 1}, {"key": np.array(["00000"] * 60)}])
def test_label_and_evaluate_refuse_the_same_files(tmp_path, changes):
    data, path = write_data(tmp_path / "data", truth_rows()), save(tmp_path, **changes)
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump({"target": {"object": ["object"]}}))
    messages = []
    for command in (
        lambda: read_embedded_set(data, [path], "s", []),
        lambda: label_dataset(data, tmp_path / "lexicon.yaml", tmp_path / "l.parquet", LabelOptions(), path),
    ):
        with pytest.raises(InputError) as error:
            command()
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 truncated", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a readable .npz"):
        read_embeddings(tmp_path / "s.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_embeddings(tmp_path / "none.npz")


def test_an_array_in_two_files_is_refused(tmp_path):
    path = save(tmp_path)
    with pytest.raises(InputError, match="which another file has too"):
        read_embeddings(path, path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = save(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("image.npy", archive.read("image.npy"))
    with pytest.raises(InputError, match="the array 'image' occurs twice"):
        read_embeddings(path)


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_a_flipped_byte_is_refused_or_harmless(tmp_path, writer):
    content = {name: SOUND[name] for name in ("key", "image", "logit_scale")}
    writer(tmp_path / "s.npz", **content)
    sound = (tmp_path / "s.npz").read_bytes()
    rng, n_refused = np.random.default_rng(0), 0
    for position, mask in zip(rng.integers(len(sound), size=100), rng.integers(1, 256, size=100), strict=True):
        damaged = bytearray(sound)
        damaged[position] ^= mask
        (tmp_path / "s.npz").write_bytes(damaged)
        try:
            embeddings = read_embeddings(tmp_path / "s.npz")
        except InputError:
            n_refused += 1
        else:
            for name, array in content.items():
                np.testing.assert_array_equal(getattr(embeddings, name), array)
    assert n_refused > 50


def test_arrays_are_read_back_as_they_were_written(tmp_path):
    write_embeddings(tmp_path / "s.npz", SOUND)
    embeddings = read_embeddings(tmp_path / "s.npz")
    for name in ("key", "image", "text", "text_image", "foil"):
        np.testing.assert_array_equal(getattr(embeddings, name), SOUND[name])
    assert (embeddings.logit_scale, embeddings.logit_bias) == (SOUND["logit_scale"], SOUND["logit_bias"])
    np.testing.assert_array_equal(embeddings.prompts["objects"].templates, SOUND["prompt/objects"])
    assert embeddings.prompts["objects"].classes == tuple(SOUND["prompt/objects/classes"])
    assert embeddings.rows(["00003", "none"]).tolist() == [3, -1]


def test_prompts_alone_can_be_written(tmp_path):
    prompts = {name: array for name, array in SOUND.items() if name.startswith("prompt/")}
    rest = {name: array for name, array in SOUND.items() if name not in prompts}
    write_embeddings(tmp_path / "prompts.npz", prompts)
    write_embeddings(tmp_path / "rest.npz", rest)
    embeddings = read_embeddings(tmp_path / "rest.npz", tmp_path / "prompts.npz")
    assert {f"prompt/{stem}" for stem in embeddings.prompts} == {n for n in prompts if not n.endswith("/classes")}


@pytest.mark.parametrize("name", ["image", "text", "prompt/objects"])
def test_only_unit_vectors_are_written(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: has a vector that is not of length 1"):
        write_embeddings(tmp_path / "s.npz", SOUND | {name: SOUND[name] * np.float32(1.01)})
    assert not (tmp_path / "s.npz").exists()


def test_nan_from_a_model_is_not_written(tmp_path):
    with pytest.raises(InputError, match="image, row 2: has NaN"):
        write_embeddings(tmp_path / "s.npz", SOUND | {"image": with_nan(SOUND["image"])})


def test_vectors_are_normalised_in_place_block_by_block(monkeypatch):
    monkeypatch.setattr(embedding_files, "_BLOCK", 8)
    array = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    expected = unit(array)
    assert unit_rows(array) is array
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f8", "f2", "i4"])
def test_any_type_and_order_of_numbers_is_read(tmp_path, dtype, order):
    image = np.asarray(np.arange(1, 481).reshape(60, 8), dtype=dtype, order=order)
    read = read_embeddings(save(tmp_path, image=image)).image
    assert read.dtype == np.float32 and read.flags.writeable
    np.testing.assert_array_equal(read, np.arange(1, 481).reshape(60, 8))
