"""Reading an embedded set: embeddings joined with the truth columns, vectors normalised, prompts averaged."""

import numpy as np
import pytest

from evenclip.errors import InputError
from evenclip.evaluate.reading import read_embedded_set
from evenclip.provenance import Manifest
from support.evaluate_example import arrays, truth_rows, write_data


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
    embedded = read(data, path, "object", "probe")
    assert embedded.truth["object"].tolist() == [f"object{i % 6}" for i in order]
    assert embedded.truth["probe"].tolist() == [("color", "size", "")[i % 3] for i in order]
    assert embedded.n == 60 and embedded.n_without_embedding == 0
    np.testing.assert_allclose(embedded.image, sound["image"][order], atol=1e-6)


def test_pairs_without_embedding_are_counted(data, tmp_path):
    sound = arrays()
    path = save(tmp_path, key=sound["key"][:50], image=sound["image"][:50], foil=None, text=None, text_image=None)
    embedded = read(data, path, "object")
    assert embedded.n == 50 and embedded.n_without_embedding == 10 and embedded.text is None and embedded.foil is None


def test_null_and_numbers_of_truth_columns_become_strings(tmp_path):
    rows = [row | {"age": None if i == 3 else i} for i, row in enumerate(truth_rows())]
    embedded = read(write_data(tmp_path / "data", rows), save(tmp_path), "age")
    assert embedded.truth["age"][:5].tolist() == ["0", "1", "2", "", "4"]


def test_vectors_are_normalised_whatever_their_length_and_type(data, tmp_path):
    sound = arrays()
    embedded = read(data, save(tmp_path, image=(7 * sound["image"]).astype(np.float64)))
    np.testing.assert_allclose(embedded.image, sound["image"], atol=1e-6)
    assert embedded.image.dtype == np.float32


def test_class_embedding_is_the_mean_of_unit_templates(data, tmp_path):
    templates = np.random.default_rng(1).normal(size=(3, 6, 8))
    embedding = read(data, save(tmp_path, prompt__objects=templates)).classes("objects").embedding
    mean = sum(t / np.linalg.norm(t, axis=1, keepdims=True) for t in templates) / 3
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


def test_a_set_may_have_no_captions_and_images_without_foil(data, tmp_path):
    foil = arrays()["foil"]
    foil[7] = np.nan
    path = save(tmp_path, text=np.empty((0, 8), np.float32), text_image=np.arange(0), foil=foil)
    embedded = read(data, path)
    assert embedded.text is None and embedded.text_image is None
    assert np.isnan(embedded.foil[7]).all() and np.isnan(embedded.foil).sum() == 8


def test_evaluation_needs_the_logit_scale(data, tmp_path):
    with pytest.raises(InputError, match="the array 'logit_scale' is missing"):
        read(data, save(tmp_path, logit_scale=None))


def test_keys_that_the_data_folder_lacks_are_an_error(data, tmp_path):
    key = np.array([f"{i + 2:05d}" for i in range(60)])
    with pytest.raises(InputError, match="2 keys are not in .*e.g. '00060'"):
        read(data, save(tmp_path, key=key))


def test_embeddings_of_other_data_with_the_same_keys_are_refused(data, tmp_path):
    rows = truth_rows()
    other = write_data(tmp_path / "other", [row | {"object": "changed"} for row in rows])
    path = save(tmp_path)
    Manifest("embed", {}, {"set s": data}).write(tmp_path / "manifest.json")
    assert read(data, path, "object").n == 60
    with pytest.raises(InputError, match=r"s.npz: these are embeddings of other data than .*other"):
        read(other, path, "object")


def test_templates_that_cancel_out_are_an_error(data, tmp_path):
    groups = arrays()["prompt/groups"][0]
    with pytest.raises(InputError, match="mean of prompt/groups: the templates of 'ravi' cancel out"):
        read(data, save(tmp_path, prompt__groups=np.stack([groups, -groups])))


def test_files_and_columns_that_are_not_there(data, tmp_path):
    with pytest.raises(InputError, match="column ocupation is missing"):
        read(data, save(tmp_path), "ocupation")
    with pytest.raises(InputError, match="not a data folder"):
        read(tmp_path, save(tmp_path))


def test_a_column_without_values(tmp_path):
    rows = [row | {"group": ""} for row in truth_rows()]
    embedded = read(write_data(tmp_path / "data", rows), save(tmp_path), "group")
    with pytest.raises(InputError, match="no image has a value"):
        embedded.codes("group", ("ravi", "tolo"))
