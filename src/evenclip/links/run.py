"""Rank the true ends of held-out triples among all that could stand there, by what is shown and what is asked for.

Writes ``{"manifest": {...}, "metrics": [...]}`` as `evenclip evaluate` does: `link_prediction/<name>/<kind>_mrr` and
`<kind>_hits_at_<k>`, of the kinds text_to_text, text_to_image, image_to_text and image_to_image. `random` is what
counting reaches: how often each answer stands with the relation in the training split.

A query is the multi-modal encoder's view of the masked slot, an answer its view of an entity alone; they are compared
by their cosine, as E2E trains them. What is true is asked of what is shown (`evenclip.model.shown_graph`): a held-out
triple that looks like one of the training split's is left out, and answers that are known to be true, in whatever
split, take no part in a ranking.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import read_manifest, read_pairs
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.evaluate.clusters import clustered_row
from evenclip.evaluate.measurement import insufficient
from evenclip.graph.link_prediction import HITS, Scorer, Side, filtered_ranks, frequency_scorer
from evenclip.links.encoding import EncodedGraph, encode_graph
from evenclip.links.options import LinkOptions
from evenclip.model.clip import load_clip
from evenclip.model.hardware import resolve_device
from evenclip.model.identity import model_identity
from evenclip.model.multimodal import HEAD, TAIL, MultiModalEncoder, load_multimodal
from evenclip.model.shown_graph import KnownTriples, ShownGraph, read_shown_graph
from evenclip.progress import track
from evenclip.provenance import Manifest, write_json
from evenclip.records import MetricRow, read_table

WAYS = ((False, False), (True, False), (False, True), (True, True))
"""Whether head and tail are shown as images."""
NO_ANSWER = -2.0  # below every cosine


@dataclass(frozen=True)
class Ranked:
    """Questions of one kind: ``ranks`` of the model, ``counted`` those of counting, ``triples`` asked about; (n,)."""

    ranks: np.ndarray
    counted: np.ndarray
    triples: np.ndarray


def predict_links(model: str, graph: Path, data: Path, name: str, out: Path, seed: int, options: LinkOptions) -> None:
    """Rank the held-out triples of ``graph``, write ``out``.

    Parameters
    ----------
    model : str
        A run folder that was trained with knowledge.
    graph : Path
        Folder of `evenclip graph`.
    data : Path
        The pictures that the graph is about.
    name : str
        Name of the graph in the metrics.
    out : Path
        JSON file to write.
    seed : int
        Draws triples, pictures and resamples.
    options : LinkOptions

    Raises
    ------
    InputError
        A model without the multi-modal part, a graph without triples in the split asked for.
    """
    if not name or "/" in name:
        raise InputError(f"'{name}' cannot name a graph", "--name", "use letters, digits and _, e.g. world")
    read_manifest(data)  # says what is wrong with a folder that is none
    encoder, described = load_multimodal(Path(model))
    inputs = {"dataset": data, "graph": graph / "triples.parquet", "model": Path(model) / "model.safetensors"}
    manifest = Manifest("links", {"model": model, "name": name, **options.model_dump(mode="json")}, inputs, seed)
    torch.set_num_threads(options.threads)
    clip, rng = load_clip(model), np.random.default_rng(seed)
    device = resolve_device(options.device)
    clip.module.to(device).eval()
    encoder.to(device).eval()
    keys = _pictures(graph, data, options.pictures, rng)
    shown = read_shown_graph(graph, keys, data, clip.preprocess_cfg)
    if not (shown.split == options.split).any():
        what = f"no triple is in the split '{options.split}'"
        raise InputError(what, str(graph / "triples.parquet"), f"build the graph with {options.split}_share above 0")
    encoded = encode_graph(clip, encoder, shown, keys, data, described["region_side"], options.threads)
    found = _rank_all(encoder, encoded, shown, options, rng)
    bootstrap = Bootstrap(options.resamples, seed)
    rows = [row for kind, each in found.items() for row in _measure(name, kind, each, bootstrap, options)]
    counts = {"n": sum(len(each.ranks) for each in found.values()), "n_pictures": len(keys)}
    counts["n_answers"] = len(encoded.contents)
    recorded = manifest.as_dict(model_identity=model_identity(model), **counts)
    write_json({"manifest": recorded, "metrics": [row.as_dict() for row in rows]}, out)


def _pictures(graph: Path, data: Path, n: int, rng: np.random.Generator) -> np.ndarray:
    """Keys of at most ``n`` pictures that the graph is about, in the order of ``data``."""
    keys = np.array(read_pairs(data, ["key"])["key"].to_pylist(), dtype=str)
    about = read_table(graph / "entities.parquet", ["image_key"])["image_key"].drop_null()
    about = np.array(about.to_pylist(), dtype=str)
    keys = keys[np.isin(keys, about)]
    return keys[np.sort(rng.choice(len(keys), min(n, len(keys)), replace=False))]


def _rank_all(
    encoder: MultiModalEncoder, encoded: EncodedGraph, graph: ShownGraph, options: LinkOptions, rng: np.random.Generator
) -> dict[str, Ranked]:
    """By kind of question, e.g. text_to_image: a text is shown, an image is asked for."""
    parts: dict[str, list[Ranked]] = {}
    in_training = KnownTriples(graph.of_split("train"))
    for way in track(WAYS, "rank answers"):
        every, row = _as_shown(graph, way)
        asked = (graph.split[row] == options.split) & ~in_training.holds(*every.T)
        _, first = np.unique(every[asked], axis=0, return_index=True)
        chosen = np.flatnonzero(asked)[np.sort(first)]
        chosen = np.sort(rng.choice(chosen, min(options.triples, len(chosen)), replace=False))
        if not len(chosen):
            continue
        by_place = every.copy()  # contents by their place among those encoded
        by_place[:, [0, 2]] = np.searchsorted(encoded.contents, every[:, [0, 2]])
        n, is_image = len(encoded.contents), encoded.contents >= len(graph.texts)
        train = by_place[graph.split[row] == "train"]
        scorers = _scorer(encoder, encoded), frequency_scorer(train, n, len(graph.relations))
        ranks, counted = (
            filtered_ranks(_among(scorer, is_image, way), by_place[chosen], by_place, n) for scorer in scorers
        )
        words = ["image" if is_shown else "text" for is_shown in way]
        for side, kind in ((0, f"{words[1]}_to_{words[0]}"), (1, f"{words[0]}_to_{words[1]}")):
            parts.setdefault(kind, []).append(Ranked(ranks[:, side], counted[:, side], row[chosen]))
    return {
        kind: Ranked(*(np.concatenate([getattr(each, column) for each in found]) for column in vars(found[0])))
        for kind, found in sorted(parts.items())
    }


def _as_shown(graph: ShownGraph, way: tuple[bool, bool]) -> tuple[np.ndarray, np.ndarray]:
    """The triples that can be shown this way, as (content, relation, content), (n, 3), and their rows.

    At least one end is an image where the triple is about one: "circle, left of, square" is not true in general.
    """
    ends = np.stack([graph.head, graph.tail])
    can = np.where(np.array(way)[:, None], graph.entity_pair[ends] >= 0, graph.entity_text[ends] >= 0).all(axis=0)
    if not any(way):
        can &= ~graph.is_particular[ends].any(axis=0)
    row = np.flatnonzero(can)
    head, tail = graph.content(ends[:, row], np.array(way)[:, None])
    return np.stack([head, graph.relation[row], tail], axis=1), row


def _scorer(encoder: MultiModalEncoder, encoded: EncodedGraph) -> Scorer:
    @torch.no_grad()
    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        device = encoded.as_head.device
        shown = encoded.slots.rows(torch.from_numpy(entities).to(device))
        relation = encoded.relations.rows(torch.from_numpy(relations).to(device))
        if side == "tail":
            (read,), place, answers = encoder((shown, relation, None)), TAIL, encoded.as_tail
        else:
            (read,), place, answers = encoder((None, relation, shown)), HEAD, encoded.as_head
        return (encoder.entity(read[:, place]) @ answers.T).cpu().numpy()

    return score


def _among(scorer: Scorer, is_image: np.ndarray, way: tuple[bool, bool]) -> Scorer:
    """The same, with only texts, or only images, as answers."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        return np.where(is_image == way[side == "tail"], scorer(entities, relations, side), NO_ANSWER)

    return score


def _measure(name: str, kind: str, found: Ranked, bootstrap: Bootstrap, options: LinkOptions) -> Iterator[MetricRow]:
    values = {"mrr": (1 / found.ranks, 1 / found.counted)}
    values |= {f"hits_at_{k}": (found.ranks <= k, found.counted <= k) for k in HITS}
    for metric, (model, counting) in values.items():
        full = f"link_prediction/{name}/{kind}_{metric}"
        if len(model) < options.minimum_group:
            yield insufficient(full, "all questions", len(model))
        else:
            yield clustered_row(full, model, found.triples, bootstrap, random=float(counting.mean()))
