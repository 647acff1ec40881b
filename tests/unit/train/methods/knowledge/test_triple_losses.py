"""Learning from the graph inside a training: losses recomputed, gradients to both towers, resumption, the outputs."""

import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from evenclip.errors import InputError
from evenclip.model.clip import create_clip, load_clip
from evenclip.model.multimodal import HEAD, RELATION, TAIL, load_multimodal
from evenclip.model.towers import encode_image, encode_text
from evenclip.train import TrainOptions, train_model
from evenclip.train.data import load_pairs
from evenclip.train.distributed import Processes
from evenclip.train.engine import Engine
from evenclip.train.methods.knowledge.distillation import Distillation
from evenclip.train.methods.knowledge.triple_captions import TripleCaptions
from evenclip.train.plugin import Clock, MethodContext, Step
from support.tiny_graph import write_graph
from support.tiny_training import write_model, write_squares, write_weights

N = 48
LOSSES = ("e2e", "e2r", "g2e")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("knowledge")
    write_squares(root / "data", N)
    write_weights(root / "weights.parquet", {f"{i:05d}": 1 for i in range(N)})
    write_model(root / "tiny.json")
    write_graph(root / "graph", N)
    options = parse(root, samples_seen=16, knowledge=None)
    train_model(root / "data", root / "weights.parquet", root / "start", 0, root / "state", options)
    return root


def parse(folder: Path, **options) -> TrainOptions:
    defaults = {"model": str(folder / "tiny.json"), "samples_seen": 64, "batch_size": 16, "lr": 3e-3, "log_every": 1}
    defaults |= {"precision": "fp32", "device": "cpu", "knowledge": {"kd": 0, "triples_per_batch": 12}}
    return TrainOptions.parse(defaults | options, "test")


def make_engine(folder: Path, seed: int = 0, **options) -> Engine:
    parsed = parse(folder, **options)
    torch.manual_seed(seed)
    clip = create_clip(parsed.model, parsed.init)
    pairs = load_pairs(folder / "data", folder / "weights.parquet", clip, threads=1)
    clock, cpu = Clock(parsed.samples_seen // parsed.batch_size), torch.device("cpu")
    context = MethodContext(parsed, clip, pairs, seed, clock, cpu, folder / "data", None, folder / "graph")
    return Engine(context, Processes())


def first_step(engine: Engine) -> Step:
    """The engine's first step, up to the losses."""
    caught = []

    class Stop(Exception):
        pass

    def catch(step: Step):
        caught.append(step)
        raise Stop

    original, engine._losses = engine._losses, catch
    with pytest.raises(Stop):
        engine.step()
    engine._losses = original
    return caught[0]


def slow_mean(logits: torch.Tensor, target: np.ndarray, is_negative) -> float:
    """Mean cross-entropy over the target and the columns that ``is_negative(row, column)`` admits."""
    total = 0.0
    for i, right in enumerate(target.tolist()):
        kept = [j for j in range(logits.shape[1]) if j == right or is_negative(i, j)]
        values = [logits[i, j].item() for j in kept]
        total -= logits[i, right].item() - math.log(sum(math.exp(value) for value in values))
    return total / len(target)


def test_e2e_e2r_and_g2e_are_their_definitions(folder: Path):
    """Each triple encoded alone, without padding, in float64; true triples found by looking through the graph."""
    engine = make_engine(folder)
    (term,) = engine.terms
    step = first_step(engine)
    drawn = (term._batches.at(position, step.batch.rows) for position in range(100))
    batch = next(
        drawn_batch for drawn_batch in drawn if len(set(drawn_batch.entities)) < len(drawn_batch.entities)
    )  # one as its word and as its image
    around = term._neighbours.around(np.unique(batch.entities), step.position)
    encoded = term._encoding.encode(step, term.encoder, batch, around)
    with torch.no_grad():
        fast = term._losses(encoded, around)
    graph, encoder = term._graph, term.encoder.double()
    scale = 1 / 0.07

    def row_of(slot, row: int):
        picked = slot.rows(torch.tensor([row]))
        return type(picked)(picked.features.double(), picked.is_shown)

    def read(head, relation, tail, at: int) -> torch.Tensor:
        return encoder((head, relation, tail))[0][0, at]

    def true(h: int, r: int, t: int) -> bool:
        def fits(content, entity):
            return content in (len(graph.texts) + entity, graph.entity_text[entity])

        return any(
            fits(h, a) and r == b and fits(t, c) for a, b, c in zip(graph.head, graph.relation, graph.tail, strict=True)
        )

    def unit(vector):
        return F.normalize(encoder.to_entity(vector), dim=-1)

    contents = batch.contents
    heads, tails = np.unique(batch.head), np.unique(batch.tail)
    head_keys = torch.stack([unit(read(row_of(encoded.contents, i), None, None, HEAD)) for i in heads])
    tail_keys = torch.stack([unit(read(None, None, row_of(encoded.contents, i), TAIL)) for i in tails])
    given = [
        (row_of(encoded.contents, head), row_of(encoded.relations, i), row_of(encoded.contents, tail))
        for i, (head, tail) in enumerate(zip(batch.head, batch.tail, strict=True))
    ]
    tail_query = torch.stack([unit(read(h, r, None, TAIL)) for h, r, _ in given])
    head_query = torch.stack([unit(read(None, r, t, HEAD)) for _, r, t in given])
    h, t = contents[batch.head], contents[batch.tail]
    of_tails = slow_mean(
        scale * tail_query @ tail_keys.T,
        np.searchsorted(tails, batch.tail),
        lambda i, j: not true(h[i], batch.relation[i], contents[tails[j]]),
    )
    of_heads = slow_mean(
        scale * head_query @ head_keys.T,
        np.searchsorted(heads, batch.head),
        lambda i, j: not true(contents[heads[j]], batch.relation[i], t[i]),
    )
    assert fast["e2e"].item() == pytest.approx((of_tails + of_heads) / 2, rel=1e-4)
    relation = term.to_relation.double()
    logits = torch.stack([relation(read(a, None, c, RELATION)) for a, _, c in given])
    expected = slow_mean(logits, batch.relation, lambda i, j: not true(h[i], j, t[i]))
    assert fast["e2r"].item() == pytest.approx(expected, rel=1e-4)
    layer = term.graph_encoder.double()
    described, story = {}, {}
    for row in range(len(contents)):
        (node,) = np.flatnonzero(around.nodes == batch.entities[row])
        edges = np.flatnonzero(around.target == node)
        if len(edges) and (contents[row] >= len(graph.texts) or not graph.is_particular[batch.entities[row]]):
            heard = [encoded.node[around.source[e]] + around.sign[e] * encoded.edge[e] for e in edges]
            described[row] = F.normalize(layer.neighbour(torch.stack(heard).double().mean(0)), dim=0)
            texts = graph.entity_text[around.nodes[around.source[edges]]]
            story[row] = sorted(zip(texts, around.relation[edges], around.sign[edges], strict=True))
    both = []
    for rows, keys in ((heads, head_keys), (tails, tail_keys)):
        kept = [k for k, row in enumerate(rows) if row in described]
        descriptions = torch.stack([described[rows[k]] for k in kept])
        logits, diagonal = scale * keys[kept] @ descriptions.T, np.arange(len(kept))

        def differ(i: int, j: int, rows=rows, kept=kept) -> bool:
            return story[rows[kept[i]]] != story[rows[kept[j]]]

        both.append((slow_mean(logits, diagonal, differ) + slow_mean(logits.T, diagonal, differ)) / 2)
    assert fast["g2e"].item() == pytest.approx(sum(both) / 2, rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_reaches_both_towers(folder: Path, name: str):
    weights = {loss: float(loss == name) for loss in LOSSES} | {"kd": 0, "triples_per_batch": 12, "image_share": 0.8}
    engine = make_engine(folder, knowledge=weights)
    step = first_step(engine)
    loss, scalars = engine.terms[0](step)
    loss.backward()
    assert list(scalars) == [f"{name}_loss"] and scalars[f"{name}_loss"].item() == pytest.approx(loss.item())
    module = engine.module
    for parameter in (module.visual.conv1.weight, module.visual.positional_embedding, module.token_embedding.weight):
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
    assert module.visual.proj.grad is None  # before pooling and projection


def test_a_finite_difference_of_a_towers_weight_is_its_gradient(folder: Path):
    engine = make_engine(folder)
    loss, _ = engine.terms[0](first_step(engine))
    loss.backward()
    weight = engine.module.visual.positional_embedding
    direction = weight.grad / weight.grad.norm()
    slope, width = (weight.grad * direction).sum().item(), 3e-3
    values = []
    for sign in (1, -1):
        again = make_engine(folder)
        with torch.no_grad():
            again.module.visual.positional_embedding += sign * width * direction
        values.append(again.terms[0](first_step(again))[0].item())
    assert (values[0] - values[1]) / (2 * width) == pytest.approx(slope, rel=0.02)


def test_the_loss_does_not_depend_on_the_order_of_the_triples(folder: Path):
    engine = make_engine(folder)
    (term,), step = engine.terms, first_step(engine)
    draw = term._batches.at

    def reversed_batch(position, rows):
        batch = draw(position, rows)
        return term._batches._batch(batch.triples[::-1].copy(), batch.as_image[:, ::-1].copy())

    first = {name: value.item() for name, value in term(step)[1].items()}
    term._batches.at = reversed_batch
    assert term(step)[1] == {name: pytest.approx(value, rel=1e-5) for name, value in first.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_zero_builds_nothing(folder: Path, name: str):
    (full,) = make_engine(folder).terms
    (term,) = make_engine(folder, knowledge={name: 0, "kd": 0}).terms
    parts = {"e2e": set(), "e2r": {"to_relation"}, "g2e": {"graph_encoder"}}
    assert dict(full.named_children()).keys() - dict(term.named_children()).keys() == parts[name]
    assert not make_engine(folder, knowledge=dict.fromkeys((*LOSSES, "kd"), 0)).terms


def test_towers_and_multi_modal_part_have_own_learning_rates(folder: Path):
    engine = make_engine(folder, lr=1e-5, knowledge={"kd": 0, "lr": 1e-3, "triples_per_batch": 12})
    before = [engine.module.visual.proj.clone(), engine.terms[0].encoder.to_entity.weight.clone()]
    engine.step()
    after = [engine.module.visual.proj, engine.terms[0].encoder.to_entity.weight]
    moved = [(a - b).abs().max().item() for a, b in zip(after, before, strict=True)]
    assert moved[1] / moved[0] == pytest.approx(100, rel=0.2)  # AdamW's first step is the learning rate


def test_gradients_in_parts_give_the_losses_of_the_whole_batch(folder: Path):
    whole, parts = make_engine(folder), make_engine(folder, micro_batch_size=5)
    for _ in range(2):
        first, second = whole.step(), parts.step()
        for name, value in first.scalars.items():
            assert float(second.scalars[name]) == pytest.approx(float(value), rel=1e-3), name


def test_distillation_pulls_towards_the_starting_model(folder: Path):
    start = {"init": str(folder / "start" / "model.safetensors")}
    cached, recomputed = (
        make_engine(folder, **start, knowledge=dict.fromkeys(LOSSES, 0) | {"teacher": name})
        for name in ("cached", "recomputed")
    )
    for engine in (cached, recomputed):
        assert [type(term) for term in engine.terms] == [Distillation]
        assert not list(engine.terms.parameters())
    for position in range(3):
        first, second = cached.step().scalars["kd_loss"].item(), recomputed.step().scalars["kd_loss"].item()
        assert first == pytest.approx(second, rel=1e-3, abs=1e-6)
        assert first == pytest.approx(0, abs=1e-6) if position == 0 else first > 1e-5


def test_distillation_needs_a_pretrained_start(folder: Path):
    with pytest.raises(InputError, match=r"knowledge\.kd"):
        make_engine(folder, knowledge={"kd": 1})
    assert not any(isinstance(term, Distillation) for term in make_engine(folder, knowledge={}).terms)


def test_the_control_is_clips_loss_on_sentences_of_triples(folder: Path):
    engine = make_engine(folder, knowledge={"as_captions": 1, "triples_per_batch": 12})
    (term,) = engine.terms
    assert isinstance(term, TripleCaptions) and not list(term.parameters())
    step = first_step(engine)
    loss, _ = term(step)
    batch, graph = term._batches.at(step.position, step.batch.rows), term._graph

    def sentence(triple: int) -> str:
        ends = (graph.entity_text[graph.head[triple]], graph.entity_text[graph.tail[triple]])
        parts = (ends[0], graph.relation_text[graph.relation[triple]], ends[1])
        return " ".join(graph.texts[part] for part in parts) if min(parts) >= 0 else "square"

    rows, sentences = [], []
    for triple, (head_is_image, tail_is_image) in zip(batch.triples, batch.as_image.T, strict=True):
        if head_is_image or tail_is_image:
            entity = graph.head[triple] if head_is_image else graph.tail[triple]
            rows.append(step.batch.rows.tolist().index(graph.entity_pair[entity]))
            sentences.append(sentence(triple))
    true = {
        (graph.entity_pair[end[triple]], sentence(triple))
        for triple in range(len(graph.head))
        for end in (graph.head, graph.tail)
        if graph.entity_pair[end[triple]] >= 0
    }
    assert {"square", "square has red"} <= set(sentences)
    text = step.encode_text(engine.clip.tokenizer(sentences))
    logits = (step.logit_scale * step.image[rows] @ text.T).detach()
    diagonal = np.arange(len(rows))

    def is_false(i: int, j: int) -> bool:
        return (step.batch.rows[rows[i]], sentences[j]) not in true

    of_texts = slow_mean(logits.T, diagonal, lambda i, j: is_false(j, i))
    expected = (slow_mean(logits, diagonal, is_false) + of_texts) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "knowledge", [{"kd": 0}, {"as_captions": 1}, {}, {"e2e": 0, "g2e": 0, "kd": 0, "region_side": 1}]
)
def test_a_training_resumes_bit_by_bit(folder: Path, knowledge: dict):
    options = {"init": str(folder / "start" / "model.safetensors"), "knowledge": {"triples_per_batch": 8} | knowledge}
    straight, first, second = (make_engine(folder, **options) for _ in range(3))
    for _ in range(4):
        straight.step()
    for _ in range(2):
        first.step()
    second.restore(first.state())
    for _ in range(2):
        second.step()
    for trained, other in ((straight.module, second.module), (straight.terms, second.terms)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in trained.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_is_open_clip_with_the_multi_modal_part_beside_it(folder: Path, tmp_path: Path, precision: str):
    options = parse(folder, samples_seen=160, precision=precision)
    arguments = folder / "data", folder / "weights.parquet", tmp_path / "run", 0, tmp_path / "state", options
    train_model(*arguments, graph=folder / "graph")
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()} - {".evenclip"}
    assert {"multimodal.safetensors", "multimodal.json", "model.safetensors"} <= names
    history = pq.read_table(run / "history.parquet").to_pandas()
    assert {"e2e_loss", "e2r_loss", "g2e_loss", "contrastive_loss"} <= set(history.columns)
    assert history["e2r_loss"].iloc[-1] < history["e2r_loss"].iloc[0]
    manifest = json.loads((run / "manifest.json").read_text())
    assert "graph" in manifest["inputs"]
    plain = open_clip.create_model_from_pretrained(f"local-dir:{run}")[0].eval()
    assert set(plain.state_dict()) == set(create_clip(str(folder / "tiny.json")).module.state_dict())
    loaded, images = load_clip(str(run)), torch.rand(3, 3, 16, 16)
    tokens = loaded.tokenizer(["a red square", "square has red"])
    with torch.inference_mode():
        pairs = [(plain.encode_image(images, normalize=True), encode_image(loaded.module.eval(), images))]
        pairs.append((plain.encode_text(tokens, normalize=True), encode_text(loaded.module, tokens)))
    for theirs, ours in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    encoder, description = load_multimodal(run)
    assert encoder.settings["embed_dim"] == 16 and description["region_side"] == 2
