"""Conversion of a graph folder to `HeteroData` of PyTorch Geometric (PyG), for other graph models.

Reads `entities.parquet`, `relations.parquet` and `triples.parquet`. Training does not use it. It samples neighbourhoods
in `evenclip.train.methods.knowledge`, since PyG's `NeighborLoader` needs the compiled `pyg-lib` or `torch-sparse`.

Node types are the modalities (text, image, both). Each triple gives two edges: head to tail with the row of its
relation, and tail to head with the relation ``row + n_relations``, so that messages flow both ways.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from evenclip.errors import InputError
from evenclip.tables import read_table

with warnings.catch_warnings():  # PyG scripts a tuple while it is imported, which newer torch calls deprecated
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    from torch_geometric.data import HeteroData

MODALITIES = ("text", "image", "both")
LINK = "link"


@dataclass(frozen=True)
class GraphTensors:
    """Triples as row numbers of entities and relations.

    Attributes
    ----------
    modality : Tensor of int64, shape (n_entities,)
        Row of `MODALITIES`.
    head, relation, tail : Tensor of int64, shape (n_triples,)
    n_relations : int
    """

    modality: Tensor
    head: Tensor
    relation: Tensor
    tail: Tensor
    n_relations: int

    @classmethod
    def read(cls, folder: str | os.PathLike, split: str | None = "train") -> Self:
        """Read the triples of one split (None = all) of a graph folder; `InputError` if a triple has an unknown id."""
        folder = Path(folder)
        entities = read_table(folder / "entities.parquet", ["id", "modality"])
        relations = read_table(folder / "relations.parquet", ["id"])
        triples = read_table(folder / "triples.parquet", ["head", "relation", "tail", "split"])
        if split is not None:
            triples = triples.filter(pc.equal(triples["split"], split))
        columns = []
        for name, ids in (("head", entities["id"]), ("relation", relations["id"]), ("tail", entities["id"])):
            rows = pc.index_in(triples[name], ids.combine_chunks())
            if rows.null_count:
                raise InputError(
                    f"{rows.null_count} ids are unknown",
                    f"{folder}/triples.parquet, {name}",
                    "run evenclip graph again",
                )
            columns.append(torch.from_numpy(rows.to_numpy().astype(np.int64)))
        modality = np.array([MODALITIES.index(name) for name in entities["modality"].to_pylist()], dtype=np.int64)
        return cls(torch.from_numpy(modality), *columns, len(relations))

    def edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """Source, target and relation of the edges in both directions, each of shape (2 * n_triples,)."""
        source, target = torch.cat([self.head, self.tail]), torch.cat([self.tail, self.head])
        return source, target, torch.cat([self.relation, self.relation + self.n_relations])

    def hetero(self) -> HeteroData:
        """The whole graph with edges in both directions; see `hetero_data`."""
        return hetero_data(torch.arange(len(self.modality)), self.modality, *self.edges())


def hetero_data(entity: Tensor, modality: Tensor, source: Tensor, target: Tensor, relation: Tensor) -> HeteroData:
    """Nodes and edges as `HeteroData`.

    Parameters
    ----------
    entity, modality : Tensor of int64, shape (n_nodes,)
        Row in entities.parquet, row in `MODALITIES`.
    source, target : Tensor of int64, shape (n_edges,)
        Rows of ``entity``.
    relation : Tensor of int64, shape (n_edges,)

    Returns
    -------
    HeteroData
        Has ``data[modality].entity`` and ``data[m, "link", k].edge_index``, ``.relation`` for the types that occur.
    """
    data = HeteroData()
    index = torch.empty_like(entity)  # of each node within its type
    for m, name in enumerate(MODALITIES):
        nodes = (modality == m).nonzero().squeeze(1)
        index[nodes] = torch.arange(len(nodes))
        if len(nodes):
            data[name].entity = entity[nodes]
            data[name].num_nodes = len(nodes)
    kind = modality[source] * len(MODALITIES) + modality[target]
    for value in kind.unique().tolist():
        edges = (kind == value).nonzero().squeeze(1)
        names = MODALITIES[value // len(MODALITIES)], LINK, MODALITIES[value % len(MODALITIES)]
        data[names].edge_index = torch.stack([index[source[edges]], index[target[edges]]])
        data[names].relation = relation[edges]
    return data
