"""The graph stage: read sources, link entities, drop redundant triples and those far from the captions, split, write.

Writes `triples.parquet`, `entities.parquet`, `relations.parquet`, `graph.json` with statistics and, given a data
folder, `negatives.parquet`.
"""

import os
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse import csgraph

from evenclip.data.picture_keys import PictureKeys
from evenclip.digests import sha256_file
from evenclip.errors import InputError
from evenclip.graph.captions.negatives import false_captions
from evenclip.graph.linking import link, merge
from evenclip.graph.options import GraphOptions
from evenclip.graph.scenes import read_scenes
from evenclip.graph.selection import SPLITS, find_redundant, mentioned_in_captions, split_triples, within_hops
from evenclip.graph.sources import GraphSource, read_source
from evenclip.graph.sources.base import SourceContext
from evenclip.graph.tables import ENTITIES_SCHEMA, RELATIONS_SCHEMA, TRIPLES_SCHEMA, Entities, Graph, Triples, modality
from evenclip.provenance import Manifest, atomic_folder, write_json
from evenclip.tables import write_table

N_RELATIONS, N_HUBS = 50, 20  # the most frequent ones are listed in graph.json


def build_graph(
    sources: list[GraphSource],
    out: str | os.PathLike,
    data: str | os.PathLike | None,
    options: GraphOptions,
    seed: int = 0,
) -> dict[str, int]:
    """Build one graph from all sources and write it to a folder.

    Parameters
    ----------
    sources : list of GraphSource
        Put the richest source first: linked entities take their id and text from the first source that has them.
    out : path
        Folder to write; an existing one is replaced as a whole.
    data : path, optional
        Data folder with the pictures and captions. An entity whose picture is missing from it becomes text only.
        Without a data folder, ``image_key`` is the number or name that the source gives the picture.
    options : GraphOptions
    seed : int
        Random seed for the split and the false captions.

    Returns
    -------
    dict of str to int
        Numbers of rows: ``n_triples``, ``n_entities``, ``n_relations`` and, with data, ``n_negatives``.

    Raises
    ------
    InputError
        A source cannot be read, has no triple, or has too many malformed records (``max_malformed_share``);
        ``options.hops`` is given without ``data``; or no triple is left.
    """
    if options.hops is not None and data is None:
        raise InputError("'hops' needs captions to start from", "option hops", "give a data folder with --data")
    for source in sources:
        if not source.path.exists():
            raise InputError("no such file or folder", str(source.path), "check the path")
    inputs = {f"{source.format} {path.name}": path for source in sources for path in source.files}
    inputs |= {} if data is None else {"data": data}
    manifest = Manifest("graph", options.model_dump(mode="json"), inputs, seed)
    graph, context = Graph(), SourceContext(PictureKeys(data), options.language)
    for source in sources:
        graph.begin(source.format)
        read_source(source, graph, context, options)
    entities, linked, n_linked = _link(graph)
    triples, report = _select(graph, entities, linked, data, options)
    report["n_linked"] = n_linked
    if len(triples) == 0:
        raise InputError("no triple is left", "option hops", "raise it, or leave it out")
    split = split_triples(triples, options.valid_share, options.test_share, seed)
    report |= _statistics(entities, triples, split, [text for _, _, text in graph.relations])
    tables = _tables(graph, entities, triples, split)
    if data is not None:
        scenes = read_scenes(entities, linked, [text for _, _, text in graph.relations])
        tables["negatives"] = false_captions(data, scenes, options.negatives_per_caption, seed)
    rows = {f"n_{name}": len(table) for name, table in tables.items()}
    with atomic_folder(out) as folder:
        for name, table in tables.items():
            write_table(table, folder / f"{name}.parquet")
        write_json(rows | report, folder / "graph.json")
        digests = {name: sha256_file(folder / f"{name}.parquet") for name in tables}
        manifest.write(folder / "manifest.json", **rows, sha256=digests)
    return rows


def _link(graph: Graph) -> tuple[Entities, Triples, int]:
    """Merged entities, triples between the representatives of linked entities, and the number of replaced entities."""
    representative, triples = link(graph.entities), graph.triples()
    linked = Triples(representative[triples.head], triples.relation, representative[triples.tail], triples.source)
    n_replaced = int((representative != np.arange(len(representative))).sum())
    return merge(graph.entities, representative), linked, n_replaced


def _select(
    graph: Graph, entities: Entities, triples: Triples, data: str | os.PathLike | None, options: GraphOptions
) -> tuple[Triples, dict[str, Any]]:
    """Triples that are neither redundant nor too far from the captions, and counts by source for graph.json."""
    texts = [text for _, _, text in graph.relations]
    redundant = find_redundant(triples, texts)
    outside = np.zeros(len(triples), dtype=bool)
    if options.hops is not None:
        outside = ~within_hops(triples, mentioned_in_captions(entities, data), options.hops)
    sources = {name: dict(count) for name, count in graph.counts.items()}
    reasons = {
        "triples": redundant.kept & ~outside,
        "duplicates": redundant.duplicate,
        "inverses": redundant.mirrored,
        "loops": redundant.loop,
        "outside_the_corpus": redundant.kept & outside,
    }
    for reason, mask in reasons.items():
        counts = np.bincount(triples.source[mask], minlength=len(sources))
        for count, n in zip(sources.values(), counts, strict=True):
            if n or reason == "triples":
                count[reason] = int(n)
    detected = [{"relations": [texts[a], texts[b]], "are": tie} for a, b, tie in redundant.detected]
    return triples.where(redundant.kept & ~outside), {"sources": sources, "detected": detected}


def _statistics(entities: Entities, triples: Triples, split: np.ndarray, texts: list[str]) -> dict[str, Any]:
    """Statistics for graph.json: splits, modalities, degrees, components, and the most frequent relations and hubs."""
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


def _tables(graph: Graph, entities: Entities, triples: Triples, split: np.ndarray) -> dict[str, pa.Table]:
    """Tables of the triples and of the entities and relations that occur in them."""
    ids = pa.array(entities.ids)
    relation_ids = pa.array([id for id, _, _ in graph.relations])
    columns = [
        ids.take(pa.array(triples.head)),
        relation_ids.take(pa.array(triples.relation)),
        ids.take(pa.array(triples.tail)),
        pa.array(list(graph.counts)).take(pa.array(triples.source)),
        pa.array(SPLITS).take(pa.array(split)),
    ]
    used = np.unique(np.concatenate([triples.head, triples.tail]))
    texts, keys, boxes = (
        [column[i] for i in used.tolist()] for column in (entities.texts, entities.image_keys, entities.boxes)
    )
    return {
        "triples": pa.Table.from_arrays(columns, schema=TRIPLES_SCHEMA),
        "entities": pa.table(
            {
                "id": ids.take(pa.array(used)),
                "text": texts,
                "modality": list(map(modality, texts, keys)),
                "image_key": keys,
                "box": boxes,
            },
            schema=ENTITIES_SCHEMA,
        ),
        "relations": pa.Table.from_pylist(
            [
                dict(zip(RELATIONS_SCHEMA.names, graph.relations[row], strict=True))
                for row in np.unique(triples.relation).tolist()
            ],
            schema=RELATIONS_SCHEMA,
        ),
    }
