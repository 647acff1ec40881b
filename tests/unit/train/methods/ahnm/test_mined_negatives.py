"""Hard negatives in a batch: plain InfoNCE as the limit, known positives, false captions, fair shares."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from evenclip.bias import Contrast
from evenclip.data.shard_writer import write_shards
from evenclip.provenance import Manifest
from evenclip.tables import write_table
from evenclip.train.batches import Batch
from evenclip.train.group_labels import GroupLabels
from evenclip.train.known_positives import BatchPositives, facts_of_images
from evenclip.train.loss import contrastive_loss
from evenclip.train.method_options import AhnmOptions
from evenclip.train.methods.ahnm.candidates import CandidateGroups, FalseCaptions, Texts, false_captions
from evenclip.train.methods.ahnm.examples import NegativeExamples
from evenclip.train.methods.ahnm.mined_negatives import MinedNegatives, mining_at
from support.vectors import unit_rows

B, D = 24, 16
EVEN = {"sharpness_end": 0}


def make_step(seed: int = 0, position: int = 0) -> SimpleNamespace:
    """A batch of pairs 0 to B - 1, each text near its image."""
    image = torch.from_numpy(unit_rows(B, D, seed, rank=D))
    text = F.normalize(image + 0.3 * torch.from_numpy(unit_rows(B, D, seed + 1, rank=D)), dim=1)
    return SimpleNamespace(
        position=position, image=image.requires_grad_(), text=text.detach().requires_grad_(),
        logit_scale=torch.tensor(10.0), batch=Batch(np.arange(B), np.zeros(B)),
    )  # fmt: skip


def positives(true: torch.Tensor) -> BatchPositives:
    """Known positives from a matrix: each image is a term that the texts which are not true of it contain."""
    return BatchPositives(torch.eye(len(true)), (~true).T.float())


def make(
    step: SimpleNamespace,
    outside: Texts | None = None,
    true: torch.Tensor | None = None,
    groups: CandidateGroups | None = None,
    **options,
) -> MinedNegatives:
    parsed = AhnmOptions.parse(EVEN | options, "test")
    texts = Texts(step.text, torch.arange(B), torch.from_numpy(step.batch.rows), torch.zeros(B, dtype=torch.int64))
    texts = texts + outside if outside else texts
    true = torch.eye(B, len(texts.row)) > 0 if true is None else true
    return MinedNegatives(
        step.image, texts, step.logit_scale, positives(true), mining_at(parsed, 1.0), groups, parsed.fair
    )


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_without_sharpness_and_focus_the_loss_is_the_plain_one(objective: str):
    results = []
    for mined in (False, True):
        step = make_step()
        adjustment = make(step) if mined else None
        loss = contrastive_loss(step.image, step.text, step.logit_scale, torch.tensor(-5.0), objective, adjustment)
        loss.backward()
        results.append((loss.item(), step.image.grad, step.text.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for plain, mined in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(mined, plain, rtol=1e-5, atol=1e-8)


def test_without_sharpness_and_focus_every_weight_is_one():
    mined = make(make_step())
    assert torch.equal(mined.log_weight(slice(0, B)), torch.zeros(B, B))
    assert torch.equal(mined.log_weight_text(slice(0, B)), torch.zeros(B, B))


def test_rows_computed_in_parts_equal_the_whole():
    step = make_step()
    whole, parts = (make(step, other_texts(step), sharpness_end=0.8) for _ in range(2))
    for name in ("log_weight", "log_weight_text", "extra_log_weight"):
        together = torch.cat([getattr(parts, name)(slice(i, i + 8)) for i in range(0, B, 8)])
        torch.testing.assert_close(getattr(whole, name)(slice(0, B)), together)


def other_texts(step: SimpleNamespace, n: int = 10) -> Texts:
    """Texts of other pairs."""
    row = torch.arange(100, 100 + n)
    return Texts(torch.from_numpy(unit_rows(n, D, 7, rank=D)), row, row, torch.zeros_like(row))


def masked(log_weight: torch.Tensor) -> list[list[int]]:
    return torch.nonzero(log_weight == -torch.inf).tolist()


def test_true_texts_are_masked_in_both_directions():
    step = make_step()
    true = torch.eye(B) > 0
    true[0, 1] = true[5, 4] = True  # text 1 is true of picture 0, text 4 of picture 5
    mined = make(step, true=true)
    assert masked(mined.log_weight(slice(0, B))) == [[0, 1], [5, 4]]
    assert masked(mined.log_weight_text(slice(0, B))) == [[1, 0], [4, 5]]
    assert mined.logged()["negatives_masked"] == pytest.approx(2 / (B * (B - 1)))


def test_texts_from_outside_keep_the_scale_of_the_loss():
    step = make_step()
    mined = make(step, other_texts(step))
    inside, outside = mined.log_weight(slice(0, B)).exp(), mined.extra_log_weight(slice(0, B)).exp()
    assert outside.shape == (B, 10)
    torch.testing.assert_close(inside.sum(1) - 1 + outside.sum(1), torch.full((B,), B - 1.0))


def test_another_caption_of_the_pair_is_masked_a_false_one_never():
    step = make_step()
    row = torch.tensor([3, 3, 5])
    outside = Texts(step.image.detach()[[3, 3, 5]], torch.tensor([50, 51, 52]), row, torch.tensor([1, -1, -2]))
    true = torch.eye(B, B + 3) > 0
    true[3, B] = True  # another caption of pair 3
    true[3, B + 1] = true[4, B + 2] = True  # words can mislead: the first was written to be false for picture 3
    weight = make(step, outside, true).extra_log_weight(slice(0, B))
    assert weight[3, 0] == -torch.inf == weight[4, 2]
    assert weight[3, 1] > -torch.inf and weight[5, 2] > -torch.inf


def group_labels(n: int) -> GroupLabels:
    inside, outside = np.arange(n)[:, None] % 4 == 0, np.arange(n)[:, None] % 4 == 1
    return GroupLabels((Contrast("group.g0", inside[:, 0], outside[:, 0], 0.5),), (np.arange(n) % 8 < 4)[:, None])


def test_negatives_of_an_anchor_are_fair_and_their_bias_logged():
    step = make_step()
    groups = CandidateGroups.of(group_labels(B), torch.device("cpu")).at(torch.arange(B))
    mined = make(step, groups=groups, sharpness_end=0.5)
    weight = mined.log_weight(slice(0, B)).exp().fill_diagonal_(0)
    mass = weight @ groups.member[0].T.float()
    assert (mass > 0).all()
    plain = torch.ones(B, B).fill_diagonal_(0) @ groups.member[0].T.float()
    torch.testing.assert_close(mass[:, 0] / mass.sum(1), plain[:, 0] / plain.sum(1), rtol=1e-4, atol=1e-4)
    logged = mined.logged()
    expected = group_labels(B).bias(group_labels(B).masses(np.arange(B), weight.sum(0).numpy()))
    assert logged["negatives_rb"].item() == pytest.approx(expected.rb, abs=1e-6) == pytest.approx(0, abs=3e-3)
    assert logged["negatives_ab"].item() == pytest.approx(expected.ab, abs=1e-6)
    unfair = make(step, groups=groups, sharpness_end=0.5, fair=False)
    unfair.log_weight(slice(0, B))
    assert unfair.logged()["negatives_rb"] > 0.005


def test_sharpness_and_strength_of_mining_rise_during_training():
    middle = mining_at(AhnmOptions(sharpness_end=0.4), 0.5)
    assert (middle.sharpness, middle.strength) == pytest.approx((0.2, 0.5))
    assert mining_at(AhnmOptions(strength_start=1.0), 0.5).strength == 1


def test_false_captions_are_drawn_and_carry_a_gradient():
    table = torch.nn.Parameter(torch.from_numpy(unit_rows(5, D)))
    false = FalseCaptions(np.array([1, 1, 1, 4, 30]), torch.arange(5)[:, None], 40, 1.0, seed=0)
    drawn = set()
    for position in range(30):
        step = make_step(position=position)
        step.encode_beside = lambda tokens: table[tokens[:, 0]]
        texts = false.of(step)
        assert texts.row.tolist() == [1, 4] and texts.is_false.all()
        assert (texts.caption - 40 == -1 - texts.number).all()
        drawn |= set(texts.number.tolist())
    assert drawn == {-1, -2, -3, -4}
    texts.text.sum().backward()
    assert table.grad.any()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Pictures: a an old red dog on a mat, b a red dog, c a dog that illustrates the concept; false captions of a."""
    entities = {"id": ["a1", "a2", "b1", "c1", "red", "old"], "text": ["dog", "mat", "dog", "dog", "red", "old"],
                "image_key": ["a", "a", "b", "c", None, None],
                "box": [[0, 0, 9, 9], [0, 5, 9, 9], [0, 0, 9, 9], None, None, None]}  # fmt: skip
    relations = {"id": ["vg:has attribute", "vg:on"], "name": ["has attribute", "on"], "text": ["is", "on"]}
    triples = {"head": ["a1", "a1", "b1", "a1", "b1"], "relation": ["vg:has attribute"] * 3 + ["vg:on"] * 2,
               "tail": ["red", "old", "red", "a2", "c1"]}  # fmt: skip
    triples |= {"split": ["train"] * 4 + ["test"]}
    write_table(pa.table(relations), tmp_path / "relations.parquet")
    write_table(pa.table(entities), tmp_path / "entities.parquet")
    write_table(pa.table(triples), tmp_path / "triples.parquet")
    negatives = {"key": ["z", "a", "a"], "text": ["a", "a blue dog", "a red cat"], "kind": ["attribute"] * 3}
    write_table(pa.table(negatives), tmp_path / "negatives.parquet")
    return tmp_path


def test_facts_of_the_graph_are_worded_as_captions(graph: Path):
    rows, facts = facts_of_images(graph, np.array(["e", "b", "c", "a"]))
    facts_of = [{fact for row, fact in zip(rows.tolist(), facts, strict=True) if row == k} for k in range(4)]
    assert facts_of[:3] == [set(), {"dog", "red dog"}, set()]
    assert facts_of[3] == {"dog", "mat", "red dog", "old dog", "red old", "old red", "dog on mat"}


def test_false_captions_are_those_of_the_pairs_in_their_order(graph: Path):
    rows, texts = false_captions(graph, np.array(["b", "a"]))
    assert rows.tolist() == [1, 1] and texts == ["a blue dog", "a red cat"]
    (graph / "negatives.parquet").unlink()
    assert false_captions(graph, np.array(["a"]))[1] == []


def test_examples_are_told_in_words_and_survive_a_stop(tmp_path: Path):
    with write_shards(tmp_path / "data", Manifest("data", {}, {})) as writer:
        for key in "ab":
            writer.add(key, b"jpeg", [f"first {key}", f"second {key}"], {}, width=1, height=1, sha256="")
    texts = Texts(torch.zeros(4, D), torch.arange(4), torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, -1]))
    examples = NegativeExamples(n_steps=10)
    assert [step for step in range(10) if examples.wanted(step)] == list(range(10))
    assert [NegativeExamples(100).wanted(step) for step in (0, 1, 99)] == [True, False, True]
    cosine = torch.tensor([[0.9, 0.5, 0.4, 0.3], [0.5, 0.9, 0.1, 0.0]])
    examples.record(4, texts, cosine, torch.tensor([[0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 1.0, 0.0]]))
    again = NegativeExamples(10)
    again.restore(examples.state())
    rows = again.table(tmp_path / "data", np.array(["a", "b"]), ["a false a"]).to_pylist()
    plain = {"step": 5, "key": "a", "text": "first a"}
    assert rows == [
        plain | {"negative_key": "a", "negative_text": "a false a", "source": "graph", "similarity": pytest.approx(0.3),
                 "weight": 3.0},
        plain | {"negative_key": "b", "negative_text": "second b", "source": "batch", "similarity": 0.5, "weight": 2.0},
        {"step": 5, "key": "b", "text": "second b", "negative_key": "b", "negative_text": "first b", "source": "batch",
         "similarity": pytest.approx(0.1), "weight": 1.0},
    ]  # fmt: skip
