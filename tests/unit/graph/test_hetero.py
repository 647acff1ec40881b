"""Graph folders as PyG data, without compiled extras."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.graph.hetero import MODALITIES, GraphTensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Forty pictured dogs, each red or blue, on a mat; what dogs are."""
    root = tmp_path_factory.mktemp("graph")
    scenes = []
    for k in range(40):
        box = {"x": 0, "y": 0, "w": 5, "h": 5}
        things = [
            {"object_id": 2 * k, "names": ["dog"], "attributes": [["red", "blue"][k % 2]], **box},
            {"object_id": 2 * k + 1, "names": ["mat"], **box},
        ]
        link = {"relationship_id": k, "predicate": "on", "subject_id": 2 * k, "object_id": 2 * k + 1}
        scenes.append({"image_id": k, "objects": things, "relationships": [link]})
    (root / "scene_graphs.json").write_text(json.dumps(scenes))
    (root / "cn.txt").write_text("IsA\tdog\tanimal\nIsA\tcat\tanimal\nAtLocation\tdog\tmat\n")
    sources = [f"visual_genome={root / 'scene_graphs.json'}", f"conceptnet={root / 'cn.txt'}"]
    build_graph([GraphSource.from_argument(source) for source in sources], root / "graph", None, GraphOptions())
    return root / "graph"


@pytest.fixture(scope="module")
def graph(folder) -> GraphTensors:
    return GraphTensors.read(folder)


def test_hetero_data_has_every_triple_both_ways(folder):
    graph = GraphTensors.read(folder, split=None)
    data = graph.hetero()
    data.validate()
    assert set(data.node_types) == {"text", "both"}
    assert sum(data[name].num_nodes for name in data.node_types) == len(graph.modality)
    edges = set()
    for source, _, target in data.edge_types:
        store = data[source, "link", target]
        ends = data[source].entity[store.edge_index[0]], data[target].entity[store.edge_index[1]]
        edges |= set(zip(ends[0].tolist(), store.relation.tolist(), ends[1].tolist(), strict=True))
        assert (graph.modality[ends[0]] == MODALITIES.index(source)).all()
    forward = set(zip(graph.head.tolist(), graph.relation.tolist(), graph.tail.tolist(), strict=True))
    assert edges == forward | {(t, r + graph.n_relations, h) for h, r, t in forward}


def test_only_the_split_asked_for_is_read(folder, graph):
    n = json.loads((folder / "graph.json").read_text())["splits"]
    assert len(graph.head) == n["train"] and len(GraphTensors.read(folder, "test").head) == n["test"] > 0


def test_a_layer_of_pyg_runs_on_it_and_equals_a_dense_sum(graph):
    from torch_geometric.nn import HeteroConv, SAGEConv

    data = graph.hetero()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(len(graph.modality), 4)).astype(np.float32))
    features = {name: x[data[name].entity] for name in data.node_types}
    layers = {edge: SAGEConv((4, 4), 4, aggr="sum", root_weight=False, bias=False) for edge in data.edge_types}
    for layer in layers.values():
        torch.nn.init.eye_(layer.lin_l.weight)
    out = HeteroConv(layers, aggr="sum")(features, data.edge_index_dict)
    source, target, _ = graph.edges()
    dense = torch.zeros_like(x).index_add_(0, target, x[source])
    for name, values in out.items():
        assert torch.allclose(values, dense[data[name].entity], atol=1e-5)


def test_unknown_ids_are_an_error(folder, tmp_path):
    import pyarrow.parquet as pq

    for name in ("triples", "relations", "entities"):
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(table.slice(1) if name == "entities" else table, tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="ids are unknown"):
        GraphTensors.read(tmp_path)


def test_graph_stage_loads_neither_torch_nor_pyg_extras():
    assert not {"pyg_lib", "torch_sparse", "torch_scatter"} & set(sys.modules)
    code = "import sys, evenclip.graph; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
