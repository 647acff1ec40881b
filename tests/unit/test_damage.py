"""Damaged outputs are noticed before a number is made of them, and readers survive what fuzzers write."""

import pytest

from fuzz import archives, captions, embeddings, results, studies, tables
from support.damage import damage_at_random, write_outputs
from support.fuzzing import fuzz
from support.project import ROOT


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return write_outputs(tmp_path_factory.mktemp("outputs"))


@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_damage_is_noticed_or_changes_nothing(outputs, kind):
    outcomes, wrong = damage_at_random(outputs, kind, 50, seed=1)
    assert not wrong
    n_refused = sum(n for (_, outcome), n in outcomes.items() if outcome == "refused")
    assert n_refused > 30


@pytest.mark.parametrize("fuzzer", [archives, captions, embeddings, results, studies, tables], ids=lambda f: f.__name__)
def test_readers_refuse_or_agree(fuzzer, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, failures = fuzz(fuzzer.PROPERTIES, seconds=0, first_seed=1)
    assert not failures, failures[0]
