"""The image side: it finds what embeddings hold, abstains where they do not, and reports agreement that is true."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.balance import BalanceOptions, audit
from evenclip.data.shard_writer import write_shards
from evenclip.embedding_files import read_embeddings
from evenclip.errors import InputError
from evenclip.label import AttributeSet, LabelOptions, label_dataset
from evenclip.label.agreement import Side, agreement, share_with_interval
from evenclip.label.from_images import perceive
from evenclip.label.noise import flip, shuffled
from evenclip.label.quality import image_text_similarity, lowest, rank_share, utility
from evenclip.provenance import Manifest
from evenclip.tables import digest_of_keys

VALUES = ("man", "woman")
D = 6
LEXICON = {"sensitive": {"gender": {"woman": ["woman"], "man": ["man"]}}, "target": {"bike": ["bike"]}}


def write_data(folder: Path, captions: list[list[str]], **columns: list[str]) -> Path:
    with write_shards(folder, Manifest("data", {}, {})) as writer:
        for i, texts in enumerate(captions):
            row = {name: values[i] for name, values in columns.items()}
            writer.add(f"k{i}", b"jpeg", texts, row, width=100 + i, height=56, sha256=str(i))
    return folder


def write_npz(path: Path, image: np.ndarray, **arrays: np.ndarray) -> Path:
    keys = np.array([f"k{i}" for i in range(len(image))])
    np.savez(path, key=keys, image=image.astype(np.float32), **arrays)
    return path


def features(gender: np.ndarray, rng: np.random.Generator, strength: float = 3.0) -> np.ndarray:
    """Embeddings whose first axis tells "man" from "woman", with noise; '' lies far off on the second."""
    means = np.zeros((len(gender), D))
    means[:, 0] = strength * ((gender == "man").astype(float) - (gender == "woman"))
    means[gender == "", 1] = 8
    return means + rng.normal(size=means.shape)


@pytest.fixture
def faces(tmp_path):
    """An annotated set of 400 faces."""

    def make(strength: float = 3.0, nobody: bool = False, seed: int = 0) -> AttributeSet:
        rng = np.random.default_rng(seed)
        gender = rng.choice([*VALUES, ""] if nobody else VALUES, size=400)
        data = write_data(tmp_path / "faces", [[] for _ in gender], gender=gender.tolist())
        return AttributeSet(write_npz(tmp_path / "faces.npz", features(gender, rng, strength)), data, ("gender",))

    return make


# --- the classifier -------------------------------------------------------------------------------------------------


def test_perception_recovers_the_truth_and_reports_its_accuracy(faces, tmp_path):
    rng = np.random.default_rng(1)
    truth = rng.choice(VALUES, size=2000)
    images = read_embeddings(write_npz(tmp_path / "x.npz", features(truth, rng, strength=1.0)))
    perceived = perceive("gender", faces(strength=1.0), images, 0.8, seed=0)
    right = perceived.labels[np.arange(len(truth)), np.searchsorted(VALUES, truth)]
    assert perceived.values == VALUES and perceived.labels.sum(axis=1).tolist() == [1] * len(truth)
    # two normal distributions two standard deviations apart: 84 % at best
    assert 0.80 < right.mean() < 0.87
    assert right[perceived.is_confident].mean() > 0.9 > right[~perceived.is_confident].mean()
    held_out = perceived.held_out
    assert (held_out["n_train"], held_out["n_test"]) == (320, 80)
    assert held_out["accuracy"]["ci_low"] < right.mean() < held_out["accuracy"]["ci_high"]
    assert held_out["accuracy_where_it_speaks"]["n"] == round(held_out["speaks"]["value"] * 80)
    said = perceived.calibration.to_pandas()
    assert len(said) == 80 and set(said["attribute"]) == {"image.gender"} and set(said["truth"]) == set(VALUES)
    assert (said["perceived"] != "abstains").mean() == held_out["speaks"]["value"]
    answered = said[said["perceived"] != "abstains"]
    assert (answered["perceived"] == answered["truth"]).mean() == held_out["accuracy_where_it_speaks"]["value"]


def test_confidence_is_calibrated_and_more_of_it_abstains_more(faces, tmp_path):
    rng = np.random.default_rng(2)
    truth = rng.choice(VALUES, size=4000)
    images = read_embeddings(write_npz(tmp_path / "x.npz", features(truth, rng, strength=1.0)))
    shares = []
    for confidence in (0.0, 0.6, 0.8, 0.95):
        perceived = perceive("gender", faces(strength=1.0), images, confidence, seed=0)
        right = perceived.labels[np.arange(len(truth)), np.searchsorted(VALUES, truth)]
        shares.append(perceived.is_confident.mean())
        assert right[perceived.is_confident].mean() >= confidence  # at least as often right as it says
    assert shares[0] == 1 and shares == sorted(shares, reverse=True) and shares[-1] < 0.6


def test_embeddings_without_the_attribute_make_it_abstain(faces, tmp_path):
    rng = np.random.default_rng(3)
    images = read_embeddings(write_npz(tmp_path / "x.npz", rng.normal(size=(300, D))))
    assert perceive("gender", faces(strength=0.0), images, 0.8, seed=0).is_confident.mean() < 0.02


def test_nobody_is_a_class_of_its_own_where_the_set_shows_nobody(faces, tmp_path):
    rng = np.random.default_rng(4)
    truth = np.array(["", "man", "woman"] * 50)
    images = read_embeddings(write_npz(tmp_path / "x.npz", features(truth, rng)))
    perceived = perceive("gender", faces(nobody=True), images, 0.8, seed=0)
    assert perceived.values == VALUES
    assert perceived.labels[truth == ""].sum() == 0 and perceived.is_confident[truth == ""].mean() > 0.95
    assert set(perceived.held_out["recall_by_value"]) == {"nobody", "man", "woman"}
    assert set(perceived.calibration["truth"].to_pylist()) == {"nobody", "man", "woman"}


def test_equal_seeds_perceive_equal_labels(faces, tmp_path):
    images = read_embeddings(write_npz(tmp_path / "x.npz", np.random.default_rng(5).normal(size=(50, D))))
    first, second = (perceive("gender", faces(strength=1.0), images, 0.8, seed=7) for _ in range(2))
    assert np.array_equal(first.labels, second.labels) and first.held_out == second.held_out


def test_sets_that_cannot_be_learnt_from_are_input_errors(faces, tmp_path):
    annotated = faces()
    images = read_embeddings(write_npz(tmp_path / "x.npz", np.ones((3, D + 1))))
    with pytest.raises(InputError, match="dimension 6, those of the images have 7"):
        perceive("gender", annotated, images, 0.8, 0)
    with pytest.raises(InputError, match="no column 'age'"):
        perceive("age", annotated, images, 0.8, 0)
    few = write_data(tmp_path / "few", [[]] * 30, gender=["man"] * 20 + ["woman"] * 10)
    npz = write_npz(tmp_path / "few.npz", np.ones((30, D)))
    with pytest.raises(InputError, match="'man' 20, 'woman' 10"):
        perceive("gender", AttributeSet(npz, few, ("gender",)), images, 0.8, 0)


# --- agreement ------------------------------------------------------------------------------------------------------


def side(text: str) -> Side:
    """m, w: one value; b: both; -: none; ?: abstains."""
    labels = np.array([[c in "mb", c in "wb"] for c in text])
    return Side(labels, np.array([c != "?" for c in text]))


def test_agreement_by_hand():
    result = agreement(side("mmmmmwwwbm-w"), side("mmmmwwwmm?mw"), VALUES)
    assert (result["n"], result["n_reference_only"], result["n_other_only"]) == (9, 1, 2)
    assert result["accuracy"]["value"] == pytest.approx(7 / 9)
    man = result["by_value"]["man"]
    assert (man["precision"]["value"], man["precision"]["n"]) == (4 / 5, 5)
    assert (man["recall"]["value"], man["recall"]["n"]) == (4 / 5, 5)
    observed, chance = 7 / 9, (5 * 5 + 4 * 4) / 81
    assert result["kappa"] == pytest.approx((observed - chance) / (1 - chance))
    assert result["by_value"]["woman"]["kappa"] == pytest.approx(result["kappa"])  # two values: the same table


def test_agreement_of_nothing_and_of_one_value():
    nothing = agreement(side("?b"), side("mm"), VALUES)
    assert (nothing["n"], nothing["kappa"], nothing["accuracy"]["value"]) == (0, None, None)
    assert agreement(side("mm"), side("mm"), VALUES)["kappa"] is None


def test_wilsons_interval():
    interval = share_with_interval(8, 10)
    assert (interval["ci_low"], interval["ci_high"]) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )


# --- the stage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path, faces):
    """600 pairs, two in three with a person; half of the captions name the gender, of these 1 in 10 wrongly."""
    rng = np.random.default_rng(6)
    truth = rng.choice(["man", "woman", ""], size=600)
    named = np.where(rng.random(600) < 0.1, np.where(truth == "man", "woman", "man"), truth)
    said = rng.random(600) < 0.5
    captions = [
        [f"a {word} on a bike" if word and is_said else "a bike"] for word, is_said in zip(named, said, strict=True)
    ]
    data = write_data(tmp_path / "data", captions, gender=truth.tolist())
    text = rng.normal(size=(599, D)).astype(np.float32)  # the last has none
    npz = write_npz(tmp_path / "data.npz", features(truth, rng), text=text, text_image=np.arange(599))
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON, sort_keys=False))

    def run(annotated: AttributeSet | None = None, **options):
        out = tmp_path / "out" / "set.parquet"
        label_dataset(data, tmp_path / "lexicon.yaml", out, LabelOptions(**options), npz, annotated)
        return pq.read_table(out), json.loads(out.with_suffix(".json").read_text()), truth

    return run


def test_captions_and_images_are_compared_with_the_truth(labelled, faces, tmp_path):
    table, manifest, truth = labelled(faces(nobody=True))
    assert table.column_names == [
        "key", "text.sensitive.gender.woman", "text.sensitive.gender.man", "target.bike",
        "image.sensitive.gender.man", "image.sensitive.gender.woman",
    ]  # fmt: skip
    image = np.array([value is True for value in table.column("image.sensitive.gender.man").to_pylist()])
    assert image[truth == "man"].mean() > 0.95 and image[truth != "man"].mean() < 0.02
    report = manifest["image"]["gender"]
    assert report["n_speaks"] == 600 - table.column("image.sensitive.gender.man").null_count > 550
    assert report["image_against_truth"]["kappa"] > 0.95
    assert 0.6 < report["text_against_truth"]["accuracy"]["value"] < 0.99
    text = report["image_against_text"]
    n_named = [manifest["columns"][f"text.sensitive.gender.{value}"]["n"] for value in VALUES]
    assert text["n"] + text["n_reference_only"] == sum(n_named)
    assert text["by_value"]["man"]["precision"]["n"] > 50
    audited = audit(tmp_path / "out" / "set.parquet", None, BalanceOptions(), seed=0)
    assert audited  # nulls and both sides are what the balance reads


def test_images_that_are_not_embedded_are_null(labelled, faces, tmp_path):
    annotated = faces()
    short = write_npz(tmp_path / "short.npz", np.ones((10, D)))
    out = tmp_path / "short.parquet"
    labelled()  # writes the data
    label_dataset(tmp_path / "data", tmp_path / "lexicon.yaml", out, LabelOptions(min_confidence=0), short, annotated)
    assert pq.read_table(out).column("image.sensitive.gender.man").null_count == 590


def test_without_embeddings_what_needs_them_is_an_error(labelled, faces, tmp_path):
    labelled()
    for options, annotated in (
        (LabelOptions(utility=["similarity"]), None), (LabelOptions(drop_lowest_similarity=0.1), None),
        (LabelOptions(), faces()),
    ):  # fmt: skip
        with pytest.raises(InputError, match="needs embeddings"):
            label_dataset(
                tmp_path / "data", tmp_path / "lexicon.yaml", tmp_path / "x.parquet", options, None, annotated
            )
    assert not (tmp_path / "x.parquet").exists()


# --- noise ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), max_size=40), st.floats(0, 1), st.integers(0, 5))
def test_flipping_changes_just_the_share_and_keeps_rows_single(codes, share, seed):
    labels = np.array([[code >> k & 1 for k in range(3)] for code in codes], dtype=bool).reshape(-1, 3)
    flipped = flip(labels, share, np.random.default_rng(seed))
    single = labels.sum(axis=1) == 1
    assert (flipped != labels).any(axis=1).sum() == round(share * single.sum())
    assert np.array_equal(flipped[~single], labels[~single])
    assert (flipped[single].sum(axis=1) == 1).all()


def test_flipping_one_value_is_nothing():
    labels = np.ones((5, 1), dtype=bool)
    assert np.array_equal(flip(labels, 1.0, np.random.default_rng(0)), labels)


def test_the_stage_flips_each_side_and_keeps_nulls(labelled, faces):
    annotated = faces(nobody=True)
    clean, _, _ = labelled(annotated)
    noisy, manifest, _ = labelled(annotated, flip_share=0.25)
    for name, summary in manifest["columns"].items():  # the counts are those of the table that was written
        assert summary["n"] == sum(filter(None, noisy.column(name).to_pylist()))
    for name in ("text.sensitive.gender.man", "image.sensitive.gender.man"):
        old, new = clean.column(name).to_pylist(), noisy.column(name).to_pylist()
        other = clean.column(name.replace("man", "woman", 1)).to_pylist()
        n_single = sum(a is not None and a != b for a, b in zip(old, other, strict=True))
        assert sum(a != b for a, b in zip(old, new, strict=True)) == round(0.25 * n_single)
        assert [a is None for a in old] == [b is None for b in new]
    assert noisy.column("target.bike").equals(clean.column("target.bike"))


# --- utility --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1, 1) | st.just(np.nan), max_size=20))
def test_rank_share_is_monotone_and_fair(values):
    similarity = np.array(values, dtype=float)
    share = rank_share(similarity)
    measured = ~np.isnan(similarity)
    assert ((share >= 0) & (share <= 1)).all() and (share[~measured] == 1).all()
    if measured.sum() > 1:
        assert share[measured].mean() == pytest.approx(0.5)
        order = np.argsort(similarity[measured])
        assert (np.diff(share[measured][order]) >= 0).all()


def test_utility_is_the_product_of_its_parts(labelled, tmp_path):
    table, _, _ = labelled(utility=["caption_length", "resolution"], full_caption_words=5, full_px=112)
    names_one = np.logical_or(table.column("sensitive.gender.man"), table.column("sensitive.gender.woman"))
    words = np.where(names_one, 5, 2)
    assert table.column("utility").to_numpy() == pytest.approx(words / 5 * 56 / 112)
    assert table.column("utility").type == "float"
    with_similarity, _, _ = labelled(utility=["similarity"])
    embedded = read_embeddings(tmp_path / "data.npz")
    assert with_similarity.column("utility").to_numpy() == pytest.approx(rank_share(image_text_similarity(embedded)))


def test_similarity_is_the_mean_cosine_of_a_pairs_captions(tmp_path):
    image = np.array([[2.0, 0], [0, 1], [1, 1]])
    text = np.array([[1.0, 0], [0, 3], [1, 1]])
    npz = write_npz(tmp_path / "x.npz", image, text=text, text_image=np.array([0, 0, 1]))
    similarity = image_text_similarity(read_embeddings(npz))
    assert similarity[:2] == pytest.approx([0.5, np.sqrt(0.5)]) and np.isnan(similarity[2])


@pytest.mark.parametrize(("share", "rows"), [(0.0, []), (0.25, [1]), (0.5, [1, 2]), (0.9, [0, 1, 2])])
def test_the_lowest_are_dropped_and_never_the_unknown(share, rows):
    assert np.flatnonzero(lowest(np.array([0.3, -0.1, 0.3 - 1e-9, np.nan]), share)).tolist() == rows


def test_the_filter_writes_what_it_leaves_out(labelled, tmp_path):
    whole, _, _ = labelled()
    kept, manifest, _ = labelled(drop_lowest_similarity=0.1)
    gone = pq.read_table(tmp_path / "out" / "set.quarantine.parquet").to_pylist()
    assert (len(kept), len(gone), manifest["n"], manifest["n_dropped"]) == (540, 60, 540, 60)
    assert {row["reason"] for row in gone} == {"low_similarity"}
    assert manifest["dropped_keys"] == digest_of_keys(pa.array([row["name"] for row in reversed(gone)]))
    assert {row["name"] for row in gone} | set(kept.column("key").to_pylist()) == set(whole.column("key").to_pylist())
    similarity = image_text_similarity(read_embeddings(tmp_path / "data.npz"))
    dropped = [int(row["name"][1:]) for row in gone]
    assert np.nanmax(similarity[dropped]) <= np.nanmin(np.delete(similarity, dropped))


def test_utility_without_parts_is_one():
    assert utility([1, 2], None, [], LabelOptions()).tolist() == [1, 1]


def test_shuffled_labels_keep_their_rows_and_lose_their_pairs():
    number = np.arange(200)
    columns = {
        "sensitive.g.a": number % 2 == 0,
        "target.x": pa.array([None if i % 4 == 0 else i % 3 == 0 for i in number]),
    }
    rows = list(zip(columns["sensitive.g.a"].tolist(), columns["target.x"].to_pylist(), strict=True))
    mixed = shuffled(columns, seed=3)
    dealt = list(zip(*(mixed[name].to_pylist() for name in columns), strict=True))
    assert sorted(map(str, dealt)) == sorted(map(str, rows)) and dealt != rows
    assert {name: array.to_pylist() for name, array in shuffled(columns, seed=3).items()} == {
        name: array.to_pylist() for name, array in mixed.items()
    }
