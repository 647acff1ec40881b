"""What a graph looks like, for graph.json and the report: splits, modalities, relations, degrees, components."""

from collections import Counter
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from evenclip.graph.splitting import SPLITS
from evenclip.graph.tables import Entities, Triples, modality

N_RELATIONS, N_HUBS = 50, 20


def describe(entities: Entities, triples: Triples, split: np.ndarray, texts: list[str]) -> dict[str, Any]:
    """Statistics of the triples and of the entities that they speak of; the most frequent relations and entities."""
    ends = np.concatenate([triples.head, triples.tail])
    used, degree = np.unique(ends, return_counts=True)
    sizes = np.bincount(triples.relation)
    relations = [row for row in np.argsort(-sizes, kind="stable") if sizes[row]]
    hubs = np.argsort(-degree, kind="stable")[:N_HUBS]
    n = len(entities.ids)
    links = sparse.coo_array((np.ones(len(triples), dtype=np.int8), (triples.head, triples.tail)), (n, n))
    component = np.bincount(csgraph.connected_components(links, directed=False)[1][used])
    component = component[component > 0]
    modalities = Counter(modality(entities.texts[i], entities.image_keys[i]) for i in used.tolist())
    return {
        "splits": {name: int(k) for name, k in zip(SPLITS, np.bincount(split, minlength=3), strict=True)},
        "modalities": dict(modalities),
        "relations": {texts[row]: int(sizes[row]) for row in relations[:N_RELATIONS]},
        "hubs": {entities.ids[used[k]]: int(degree[k]) for k in hubs},
        "degree": {"mean": float(degree.mean()), "median": float(np.median(degree)), "max": int(degree.max())},
        "n_components": len(component),
        "largest_component_share": float(component.max() / len(used)),
    }
