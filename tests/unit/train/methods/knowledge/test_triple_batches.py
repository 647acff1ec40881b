"""The graph as a training sees it: what each step draws, what is known to be true, and whose neighbours are whose."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from evenclip.errors import InputError
from evenclip.model.clip import create_clip
from evenclip.model.multimodal_graph import KnownTriples, MultiModalGraph
from evenclip.tables import write_table
from evenclip.train import TrainOptions
from evenclip.train.data import load_pairs
from evenclip.train.methods.knowledge.triple_batches import Neighbourhood, NeighbourSampler, TripleBatches, positions
from evenclip.train.methods.knowledge.triple_losses import load_training_graph
from evenclip.train.plugin import Clock, MethodContext
from support.tiny_graph import SCHEMA, write_graph
from support.tiny_training import write_model, write_squares, write_weights

N = 24


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> MethodContext:
    root = tmp_path_factory.mktemp("triples")
    write_squares(root / "data", N)
    weights = write_weights(root / "weights.parquet", {f"{i:05d}": int(i > 0) for i in range(N)})  # 0 is not shown
    write_graph(root / "graph", N)
    options = TrainOptions(model=str(write_model(root / "tiny.json")), batch_size=8)
    clip = create_clip(options.model)
    pairs = load_pairs(root / "data", weights, clip, threads=1)
    return MethodContext(options, clip, pairs, 0, Clock(8), torch.device("cpu"), root / "data", None, root / "graph")


@pytest.fixture(scope="module")
def graph(context: MethodContext) -> MultiModalGraph:
    return load_training_graph(context)


def test_the_graph_is_read_with_the_pictures_of_the_training(graph: MultiModalGraph):
    assert len(graph.head) == 6 + 2 * N - 1  # the test triple is not seen
    assert graph.texts == sorted({"red", "green", "blue", "white", "square", "is not", "has", "in"})
    assert graph.entity_pair[:6].tolist() == [-1, -1, -1, -1, -1, -1]  # colours, and the square that is not shown
    assert graph.entity_pair[6:10].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(graph.boxes[6:8], [[0, 0, 0.5, 1], [0, 0, 1, 1]])
    assert graph.is_particular.tolist() == [False] * 4 + [True] * 2 * N
    assert graph.entity_text[7] == -1  # a picture has no words


def slow_holds(graph: MultiModalGraph, head: int, relation: int, tail: int) -> bool:
    def stands_for(content: int, entity: int) -> bool:
        return content == len(graph.texts) + entity or content == graph.entity_text[entity]

    triples = zip(graph.head, graph.relation, graph.tail, strict=True)
    return any(r == relation and stands_for(head, h) and stands_for(tail, t) for h, r, t in triples)


def test_known_triples_are_those_that_some_entity_makes_true(graph: MultiModalGraph):
    triples, rng = KnownTriples(graph), np.random.default_rng(0)
    contents = rng.integers(0, graph.n_contents, (2, 200))
    heads, tails = graph.content(graph.head, np.ones(len(graph.head), bool)), graph.entity_text[graph.tail]
    head, tail = np.concatenate([contents[0], heads[:40]]), np.concatenate([contents[1], np.maximum(tails[:40], 0)])
    relation = np.concatenate([rng.integers(0, 3, 200), graph.relation[:40]])
    expected = [slow_holds(graph, *triple) for triple in zip(head, relation, tail, strict=True)]
    assert triples.holds(head, relation, tail).tolist() == expected and any(expected)


def test_the_word_for_a_region_stands_for_every_region_so_called(graph: MultiModalGraph):
    square, red = graph.texts.index("square"), graph.texts.index("red")
    has, is_not = graph.relations.index("has"), graph.relations.index("is_not")
    triples = KnownTriples(graph)
    assert triples.holds(np.array(square), np.array(has), np.array(red))
    assert not triples.holds(np.array(square), np.array(is_not), np.array(red))


def test_a_step_shows_triples_of_its_images_and_of_texts(graph: MultiModalGraph):
    batches = TripleBatches(graph, 12, 0.5, seed=3)
    for position in range(20):
        rows = np.random.default_rng(position).permutation(N - 1)[:8]
        batch = batches.at(position, rows)
        about = batch.as_image.any(axis=0)
        assert about.sum() == 6 and (~about).sum() == 6
        assert len(set(batch.triples)) == 12
        ends = np.stack([graph.head, graph.tail])[:, batch.triples]
        assert set(graph.entity_pair[ends[batch.as_image]]) <= set(rows)
        assert not graph.is_particular[ends[:, ~about]].any()
        contents = np.stack([batch.contents[batch.head], batch.contents[batch.tail]])
        np.testing.assert_array_equal(contents, graph.content(ends, batch.as_image))
        assert (contents >= 0).all()
        np.testing.assert_array_equal(graph.relation[batch.triples], batch.relation)


def test_each_way_to_show_a_triple_occurs(graph: MultiModalGraph):
    batches, seen = TripleBatches(graph, 16, 1.0, seed=0), Counter()
    for position in range(60):
        batch = batches.at(position, np.arange(12))
        seen.update(map(tuple, batch.as_image.T[graph.relation[batch.triples] == graph.relations.index("in")].tolist()))
    assert set(seen) == {(True, True), (False, True)}  # a picture has no words: the tail is always the image
    assert min(seen.values()) > 0.3 * sum(seen.values())


@pytest.fixture(scope="module")
def twins(context: MethodContext, tmp_path_factory: pytest.TempPathFactory) -> MultiModalGraph:
    """The graph with a twin of each region, first in the table: same picture and box, another name, white, not red."""
    folder = write_graph(tmp_path_factory.mktemp("twins") / "graph", N)
    entities = pq.read_table(folder / "entities.parquet").to_pylist()
    regions = [entity for entity in entities if entity["id"].startswith("region")]
    named = [entity | {"id": entity["id"].replace("region", "twin"), "text": "twin"} for entity in regions]
    triples = [(twin["id"], relation, tail) for twin, region in zip(named, regions, strict=True)
               for relation, tail in (("has", "color:white"), ("in", region["id"]))]  # fmt: skip
    write_table(pa.Table.from_pylist([*named, *entities], schema=SCHEMA), folder / "entities.parquet")
    rows = pq.read_table(folder / "triples.parquet").to_pylist()
    rows += [dict(zip(rows[0], (*triple, "tiny", "train"), strict=True)) for triple in triples]
    write_table(pa.Table.from_pylist(rows), folder / "triples.parquet")
    return load_training_graph(replace(context, graph=folder))


def test_entities_that_look_alike_are_one_content(twins: MultiModalGraph):
    twin, region, picture = np.arange(N), N + 4 + 2 * np.arange(N), N + 5 + 2 * np.arange(N)
    assert twins.looks_like[twin[1:]].tolist() == twins.looks_like[region[1:]].tolist() == twin[1:].tolist()
    assert twins.looks_like[picture].tolist() == picture.tolist()  # the same picture, another box
    assert twins.looks_like[[0, region[0]]].tolist() == [0, region[0]]  # not shown, so they look like nothing
    contents = twins.content(np.stack([twin[1:], region[1:]]), np.array([[True], [True]]))
    assert (contents[0] == contents[1]).all()
    named = twins.content(np.stack([twin, region]), np.array([[False], [False]]))
    assert (named == [[twins.texts.index("twin")], [twins.texts.index("square")]]).all()


def test_facts_of_a_picture_hold_for_all_that_look_like_it(twins: MultiModalGraph):
    triples, has = KnownTriples(twins), np.array(twins.relations.index("has"))
    for entity in (1, N + 4 + 2):  # the first twin, and its region
        content = twins.content(np.array(entity), np.array(True))
        assert triples.holds(content, has, np.array(twins.texts.index("white")))
        assert triples.holds(content, has, np.array(twins.texts.index("green")))
        assert not triples.holds(content, has, np.array(twins.texts.index("red")))


def test_a_picture_is_never_shown_at_both_ends(twins: MultiModalGraph):
    batches, n_twins_in = TripleBatches(twins, 24, 1.0, seed=0), 0
    for position in range(30):
        batch = batches.at(position, np.arange(12))
        assert (batch.head != batch.tail).all()
        assert len(set(batch.contents)) == len(batch.contents)
        n_twins_in += (twins.texts.index("twin") == twins.entity_text[twins.head[batch.triples]]).sum()
    assert n_twins_in > 50


def test_equal_seeds_and_steps_draw_equal_triples(graph: MultiModalGraph):
    first, again, other = (TripleBatches(graph, 12, 0.5, seed) for seed in (3, 3, 4))
    rows = np.arange(8)
    assert first.at(5, rows).triples.tolist() == again.at(5, rows).triples.tolist()
    assert first.at(5, rows).triples.tolist() != first.at(6, rows).triples.tolist()
    assert first.at(5, rows).triples.tolist() != other.at(5, rows).triples.tolist()


def test_pairs_left_out_by_balancing_are_in_no_triple(graph: MultiModalGraph):
    left_out = {4, 5}  # region and picture of the pair that is not shown
    batches = TripleBatches(graph, 40, 1.0, seed=0)
    ends = np.stack([graph.head, graph.tail])
    for position in range(10):
        assert not left_out & set(ends[:, batches.at(position, np.arange(N - 1)).triples].ravel().tolist())


def test_positions():
    assert positions(np.array([7, 3, 3]), np.array([3, 9, 7])).tolist() == [2, 0, 0]


def test_neighbours_are_drawn_from_the_graph_and_have_words(graph: MultiModalGraph):
    triples = {(h, r, t) for h, r, t in zip(graph.head, graph.relation, graph.tail, strict=True)}
    sampler = NeighbourSampler(graph, 3, seed=0)
    seeds = np.array([0, 6, 7, 8])
    around = sampler.around(seeds, position=1)
    assert around.nodes[:4].tolist() == seeds.tolist() and len(set(around.nodes)) == len(around.nodes)
    for source, target, relation, sign in zip(around.source, around.target, around.relation, around.sign, strict=True):
        source, target = around.nodes[source], around.nodes[target]
        assert ((source, relation, target) if sign == 1 else (target, relation, source)) in triples
        assert graph.entity_text[source] >= 0
    assert max(Counter(around.target.tolist()).values()) <= 3
    edges = set(zip(around.source, around.target, around.relation, around.sign, strict=True))
    assert len(edges) == len(around.source)
    again = sampler.around(seeds, position=1)
    np.testing.assert_array_equal(around.source, again.source)


def test_an_entity_with_few_neighbours_gets_them_all(graph: MultiModalGraph):
    around = NeighbourSampler(graph, 5, seed=0).around(np.array([7]), position=0)  # a picture: the region in it
    assert around.nodes.tolist() == [7, 6] and around.sign.tolist() == [1]


def test_equal_descriptions_have_equal_signatures():
    text = np.array([0, 1, 1, 2, 0])
    around = Neighbourhood(
        nodes=np.arange(5),
        source=np.array([1, 3, 3, 2, 1]),
        target=np.array([0, 0, 4, 4, 1]),
        relation=np.array([0, 1, 1, 0, 0]),
        sign=np.array([1, -1, -1, 1, -1]),
    )
    first, second, third, *_, last = around.signatures(text)
    assert first == last != 0  # both hear of text 1 by relation 0 and of text 2 by relation 1, in another order
    assert second != first and third == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"crop": 0.5}, "crops move"), ({"graph": Path("nowhere")}, "nowhere")],
)
def test_an_unusable_graph_or_option_is_an_error(context: MethodContext, change: dict, message: str):
    options = context.options.model_copy(update={"crop_scale_min": change.get("crop", 1.0)})
    graph = change.get("graph", context.graph)
    arguments = (options, context.clip, context.pairs, 0, context.clock, context.device, context.data, None, graph)
    with pytest.raises(InputError, match=message):
        load_training_graph(MethodContext(*arguments))


def test_a_graph_without_anything_to_show_is_refused(graph: MultiModalGraph):
    empty = MultiModalGraph(**(vars(graph) | {"entity_pair": np.full(len(graph.entity_pair), -1)}))
    particular = MultiModalGraph(**(vars(empty) | {"is_particular": np.ones(len(graph.is_particular), bool)}))
    TripleBatches(empty, 4, 0.5, 0)
    with pytest.raises(InputError, match="no triple is about"):
        TripleBatches(particular, 4, 0.5, 0)
