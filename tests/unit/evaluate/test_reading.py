"""Reading embeddings made by anybody: what is joined to what, and one clear error for each thing that can be wrong."""

import zipfile

import numpy as np
import pytest

from evenclip.errors import InputError
from evenclip.evaluate import reading
from evenclip.evaluate.reading import read_embedded_set
from support.evaluate_example import arrays, truth_rows, unit, write_data

SOUND = arrays()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("reading") / "data", truth_rows())


def save(folder, **changes):
    """An .npz of `arrays` with changes; None takes an array away."""
    content = {name.replace("__", "/"): array for name, array in changes.items()}
    content = {name: array for name, array in (arrays() | content).items() if array is not None}
    np.savez(folder / "s.npz", **content)
    return folder / "s.npz"


def read(data, path, *columns):
    return read_embedded_set(data, [path], "s", list(columns))


def test_truth_follows_the_embeddings_order(data, tmp_path):
    order = np.random.default_rng(0).permutation(60)
    sound = arrays()
    path = save(tmp_path, key=sound["key"][order], image=sound["image"][order])
    found = read(data, path, "object", "probe")
    assert found.truth["object"].tolist() == [f"object{i % 6}" for i in order]
    assert found.truth["probe"].tolist() == [("color", "size", "")[i % 3] for i in order]
    assert found.n == 60 and found.n_without_embedding == 0
    np.testing.assert_allclose(found.image, sound["image"][order], atol=1e-6)


def test_pairs_without_embedding_are_counted(data, tmp_path):
    sound = arrays()
    path = save(tmp_path, key=sound["key"][:50], image=sound["image"][:50], foil=None, text=None, text_image=None)
    found = read(data, path, "object")
    assert found.n == 50 and found.n_without_embedding == 10 and found.text is None and found.foil is None


def test_null_and_numbers_of_truth_columns_become_strings(tmp_path):
    rows = [row | {"age": None if i == 3 else i} for i, row in enumerate(truth_rows())]
    found = read(write_data(tmp_path / "data", rows), save(tmp_path), "age")
    assert found.truth["age"][:5].tolist() == ["0", "1", "2", "", "4"]


def test_vectors_are_normalised_whatever_their_length_and_type(data, tmp_path):
    sound = arrays()
    found = read(data, save(tmp_path, image=(7 * sound["image"]).astype(np.float64)))
    np.testing.assert_allclose(found.image, sound["image"], atol=1e-6)
    assert found.image.dtype == np.float32


def test_a_class_is_the_normalised_mean_of_its_normalised_templates(data, tmp_path):
    templates = np.random.default_rng(1).normal(size=(3, 6, 8))
    found = read(data, save(tmp_path, prompt__objects=templates)).classes("objects").embedding
    mean = sum(t / np.linalg.norm(t, axis=1, keepdims=True) for t in templates) / 3
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


def test_a_set_may_have_no_captions_and_images_without_foil(data, tmp_path):
    foil = SOUND["foil"].copy()
    foil[7] = np.nan
    path = save(tmp_path, text=np.empty((0, 8), np.float32), text_image=np.arange(0), foil=foil)
    found = read(data, path)
    assert found.text is None and found.text_image is None
    assert np.isnan(found.foil[7]).all() and np.isnan(found.foil).sum() == 8


def with_nan(array):
    array = array.copy()
    array[2, 1] = np.nan
    return array


WRONG = [
    ({"image": None}, "the array 'image' is missing"),
    ({"logit_scale": None}, "the array 'logit_scale' is missing"),
    ({"text_image": None}, "the array 'text_image' is missing"),
    ({"prompt__objects__classes": None}, "the array 'prompt/objects/classes' is missing"),
    ({"prompt__objects": None}, "the array 'prompt/objects' is missing"),
    ({"imgae": SOUND["image"]}, "did you mean 'image'"),
    ({"image": SOUND["image"][:59]}, r"image: has shape \(59, 8\).*\(60, any\)"),
    ({"image": SOUND["image"][:, :0]}, r"image: has shape \(60, 0\)"),
    ({"image": SOUND["image"].astype(str)}, "should be numbers"),
    ({"text": SOUND["text"][:, :7]}, r"text: has shape \(60, 7\).*\(60, 8\)"),
    ({"text": SOUND["text"][:50]}, r"text: has shape \(50, 8\)"),
    ({"foil": SOUND["foil"][0]}, r"foil: has shape \(8,\)"),
    ({"image": with_nan(SOUND["image"])}, "image, row 2: has NaN"),
    ({"foil": with_nan(SOUND["foil"])}, "foil, row 2: has NaN"),
    ({"image": SOUND["image"] * (np.arange(60) != 5)[:, None]}, "image, row 5: has a vector of length 0"),
    ({"text_image": np.arange(60) + 1}, "text_image: names a row outside 0 ... 59"),
    ({"text_image": np.arange(60) - 1}, "text_image: names a row outside"),
    ({"text_image": np.arange(60.0)}, "should be ints"),
    ({"key": np.arange(60)}, "key is not a list of strings"),
    ({"key": np.array([f"{i // 2:05d}" for i in range(60)])}, "the key '00000' occurs more than once"),
    ({"key": np.array([f"{i + 2:05d}" for i in range(60)])}, "2 keys are not in .*e.g. '00060'"),
    ({"prompt__objects": SOUND["prompt/objects"][0]}, r"prompt/objects: has shape \(6, 8\).*\(any, 6, 8\)"),
    ({"prompt__objects": SOUND["prompt/objects"][:0]}, r"prompt/objects: has shape \(0, 6, 8\)"),
    ({"prompt__objects__classes": np.array(["a", "b", "", "d", "e", "f"])}, "not a list of non-empty class names"),
    ({"prompt__objects__classes": np.array(["a", "b", "a", "d", "e", "f"])}, "has a class twice"),
    ({"prompt__groups": np.stack([SOUND["prompt/groups"][0], -SOUND["prompt/groups"][0]])}, "mean of prompt/groups"),
    ({"logit_scale": np.float32(0)}, "logit_scale: is not one positive number"),
    ({"logit_scale": np.array([1.0, 2.0])}, "logit_scale: is not one positive number"),
    ({"logit_scale": np.float32(np.nan)}, "logit_scale: is not one positive number"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_arrays(data, tmp_path, changes, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        read(data, save(tmp_path, **changes))


def test_pickles_are_refused(data, tmp_path):
    with pytest.raises(InputError, match="not a readable .npz without pickles"):
        read(data, save(tmp_path, key=SOUND["key"].astype(object)))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 truncated"])
def test_files_that_are_no_npz(data, tmp_path, content):
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable .npz"):
        read(data, path)


def test_a_damaged_compressed_file_is_one_clear_error(data, tmp_path):
    np.savez_compressed(tmp_path / "s.npz", **SOUND)
    content = bytearray((tmp_path / "s.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "s.npz") as archive:
        start = archive.getinfo("image.npy").header_offset + 60
    content[start : start + 200] = b"\xff" * 200
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a readable .npz"):
        read_embedded_set(data, [tmp_path / "s.npz"], "s", [])


def test_float32_embeddings_are_normalised_where_they_are(monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 8)
    array = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    expected = unit(array)
    found = reading._unit(array, (7, None), "here", "image")
    assert found is array
    np.testing.assert_array_equal(found, expected)


def test_a_bare_array_is_no_npz(data, tmp_path):
    np.save(tmp_path / "s.npy", SOUND["image"])
    with pytest.raises(InputError, match="not a readable .npz"):
        read(data, tmp_path / "s.npy")


def test_files_and_columns_that_are_not_there(data, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(data, tmp_path / "none.npz")
    with pytest.raises(InputError, match="column ocupation is missing"):
        read(data, save(tmp_path), "ocupation")
    with pytest.raises(InputError, match="not a data folder"):
        read(tmp_path, save(tmp_path))


def test_a_column_without_values(tmp_path):
    rows = [row | {"group": ""} for row in truth_rows()]
    found = read(write_data(tmp_path / "data", rows), save(tmp_path), "group")
    with pytest.raises(InputError, match="no image has a value"):
        found.codes("group", ("ravi", "tolo"))
