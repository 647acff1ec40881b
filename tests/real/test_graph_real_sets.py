"""The real graphs are read whole, and only the malformed is left out."""

import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evenclip.data.vqa_questions import write_questions_table
from evenclip.graph import GraphOptions, GraphSource, build_graph

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("format", "path", "n", "n_relations"),
    [
        ("conceptnet", "conceptnet/CN-100K/train.txt", 100_000, 34),
        ("wordnet", "wn18rr/text/train.txt", 86_835, 11),
        ("wordnet", "wn18rr/original.sample/train.txt", None, None),
        ("mkg", "mkg/MKG-W", 34_196, 168),  # of 169 relations one is not in the training triples
    ],
)
def test_every_triple_is_kept_or_redundant(format, path, n, n_relations, real_data, tmp_path):
    build_graph([GraphSource(format, real_data / path)], tmp_path / "graph", None, GraphOptions())
    report = json.loads((tmp_path / "graph" / "graph.json").read_text())
    counts = report["sources"][format]
    if n is not None:
        assert counts["read"] == n
        left_out = sum(counts.get(reason, 0) for reason in ("duplicates", "inverses", "loops"))
        assert counts["triples"] == n - left_out and left_out < 0.2 * n  # WN18RR has symmetric ones twice
        assert report["n_relations"] == n_relations
    assert counts.get("malformed", 0) == 0
    triples = pq.read_table(tmp_path / "graph" / "triples.parquet")
    entities = pq.read_table(tmp_path / "graph" / "entities.parquet")
    assert pc.all(pc.is_in(triples.column("head"), entities.column("id"))).as_py()
    assert pc.min(pc.utf8_length(entities.column("text"))).as_py() > 0


def test_vqa_sample(real_data, tmp_path):
    sample = real_data / "format_samples" / "v2_OpenEnded_mscoco_val2014_questions.head.json"
    assert write_questions_table(sample, None, None, tmp_path / "q.parquet") == 24
    assert pq.read_table(tmp_path / "q.parquet").to_pylist()[0]["question"] == "Where is he looking?"
