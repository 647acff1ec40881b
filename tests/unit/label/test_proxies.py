"""Proxies: words tied to attribute and target come first, in bits that agree with scikit-learn's."""

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import mutual_info_score

from evenclip.data.shard_writer import write_shards
from evenclip.errors import InputError
from evenclip.label import LabelOptions, label_dataset
from evenclip.label.proxies import ProxyOptions, mutual_information, suggest_proxies
from evenclip.provenance import Manifest

LEXICON = {
    "sensitive": {"gender": {"woman": ["woman"], "man": ["man"]}},
    "target": {"motorcycle": ["motorcycle"], "dress": ["dress"]},
}


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("mwb-")), min_size=1, max_size=40))
def test_mutual_information_is_scikit_learns(rows):
    has_word = np.array([word for word, _ in rows], dtype=np.int64)
    classes = np.array([[c in "mb", c in "wb"] for _, c in rows])
    single = [i for i, (_, c) in enumerate(rows) if c in "mw"]
    expected = mutual_info_score(has_word[single], classes[single, 0]) / np.log(2) if single else 0
    assert mutual_information(csr_array(has_word[None]), classes)[0] == pytest.approx(expected, abs=1e-12)


@pytest.fixture
def example(tmp_path):
    """Men ride in helmets; hats go with women but with no target, boots with motorcycles but with nobody."""
    rng = np.random.default_rng(0)
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for i in range(600):
            man, rides = rng.random() < 0.5, rng.random() < 0.5
            helmet = rng.random() < (0.9 if man and rides else 0.1)
            words = [
                "the man" if man else "the woman", "motorcycle" if rides else "dress", "helmets" if helmet else "",
                "hat" if rng.random() < (0.2 if man else 0.6) else "",
                "boots" if rng.random() < 0.3 + 0.4 * rides else "",
                "rare" if i < 5 else "",
            ]  # fmt: skip
            writer.add(f"k{i}", b"", [" ".join(filter(None, words))], {}, width=1, height=1, sha256=str(i))
    (tmp_path / "lexicon.yaml").write_text(yaml.safe_dump(LEXICON))
    paths = tmp_path / "labels.parquet", tmp_path / "data", tmp_path / "lexicon.yaml", tmp_path / "proxies.yaml"
    label_dataset(paths[1], paths[2], paths[0], LabelOptions())
    return paths


def test_words_tied_to_both_come_first_in_the_lexicons_format(example):
    proxies = suggest_proxies(*example, ProxyOptions())
    assert proxies[0].word == "helmets"
    assert (proxies[0].attribute, proxies[0].target) == ("sensitive.gender", "target.motorcycle")
    # neither a word of the lexicon, nor "the", nor a rare word
    assert {proxy.word for proxy in proxies} == {"helmets", "hat", "boots"}
    assert proxies == sorted(proxies, key=lambda proxy: -proxy.bits)
    text = example[3].read_text()
    assert yaml.safe_load(text) == {"proxy": {proxy.word: [proxy.word] for proxy in proxies}}
    assert f"# {proxies[0].n_pairs} pairs; sensitive.gender {proxies[0].attribute_bits:.4f} bits" in text


def test_only_as_many_as_asked_for(example):
    assert [proxy.word for proxy in suggest_proxies(*example, ProxyOptions(n=1))] == ["helmets"]
    assert suggest_proxies(*example, ProxyOptions(min_pairs=601)) == []
    assert yaml.safe_load(example[3].read_text()) == {"proxy": {}}


def test_labels_without_targets_or_of_other_data_are_refused(example, tmp_path):
    from evenclip.tables import write_table

    write_table(pa.table({"key": ["k1"], "sensitive.a.b": [True]}), tmp_path / "no_target.parquet")
    with pytest.raises(InputError, match="no target"):
        suggest_proxies(tmp_path / "no_target.parquet", *example[1:], ProxyOptions())
    write_table(pa.table({"key": ["z"], "target.b": [True]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="the key 'z'"):
        suggest_proxies(tmp_path / "other.parquet", *example[1:], ProxyOptions())
