"""Rank the true ends of held-out triples among all that could stand there, by what is shown and what is asked for.

Writes ``{"manifest": {...}, "metrics": [...]}`` as `evenclip evaluate` does: `link_prediction/<name>/<kind>_mrr` and
`<kind>_hits_at_<k>`, of the kinds text_to_text, text_to_image, image_to_text and image_to_image; and the same with
`_counting` behind, by how often each answer stands with the relation in the training split. `random` is what random
ranks would reach.

A query is the multi-modal encoder's view of the masked slot, an answer its view of an entity alone; they are compared
by their cosine, as E2E trains them. Answers that are known to be true, in whatever split, take no part in a ranking.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evenclip.data.shards import read_manifest, read_pairs
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, clustered_row
from evenclip.evaluate.measurement import insufficient
from evenclip.links.encoding import EncodedGraph, Pictures, encode_graph
from evenclip.links.options import LinkOptions
from evenclip.links.questions import Questions, answers_among, draw_questions
from evenclip.links.ranking import HITS, Scorer, Side, chance_of, filtered_ranks, frequency_scorer
from evenclip.model.clip import load_clip, resolve_device
from evenclip.model.identity import model_identity
from evenclip.model.multimodal import HEAD, TAIL, MultiModalEncoder, load_multimodal
from evenclip.model.shown_graph import ShownGraph, read_shown_graph
from evenclip.progress import track
from evenclip.provenance import Manifest, write_json
from evenclip.tables import MetricRow, read_table

NO_ANSWER = -2.0  # below every cosine and every count


@dataclass(frozen=True)
class Ranked:
    """Questions of one kind: ranks by the model and by counting, among ``n_answers`` that take part; all (n,)."""

    model: np.ndarray
    counting: np.ndarray
    n_answers: np.ndarray
    cluster: np.ndarray


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
    inputs = {"dataset": data, "graph": graph, "model": Path(model) / "model.safetensors"}
    inputs["encoder"] = Path(model) / "multimodal.safetensors"
    manifest = Manifest("links", {"model": model, "name": name, **options.model_dump(mode="json")}, inputs, seed)
    torch.set_num_threads(options.threads)
    clip, rng = load_clip(model), np.random.default_rng(seed)
    device = resolve_device(options.device)
    clip.module.to(device).eval()
    encoder.to(device).eval()
    keys = np.array(read_pairs(data, ["key"])["key"].to_pylist(), dtype=str)
    shown = read_shown_graph(graph, keys, data, clip.preprocess_cfg)
    pictures = Pictures(data, keys, _drawn(shown, graph, data, options.pictures, rng))
    answers = answers_among(shown, pictures.rows)
    questions = list(draw_questions(shown, answers, options.split, options.triples, rng))
    if not questions:
        what = f"no triple of the split '{options.split}' is left to ask for"
        hint = f"build the graph with {options.split}_share above 0, and a larger one"
        raise InputError(what, str(graph / "triples.parquet"), hint)
    asked = np.unique(np.concatenate([each.asked[:, [0, 2]].ravel() for each in questions]))
    settings = pictures, described["region_side"], options.threads
    encoded = encode_graph(clip, encoder, shown, answers, asked, *settings)
    found = _rank_all(encoder, encoded, questions, len(shown.texts), rng)
    bootstrap = Bootstrap(options.resamples, seed)
    rows = [row for kind, each in found.items() for row in _measure(name, kind, each, bootstrap, options)]
    counts = {"n": sum(len(each.model) for each in found.values()), "n_pictures": len(pictures.rows)}
    recorded = manifest.as_dict(model_identity=model_identity(model), n_answers=len(answers), **counts)
    write_json({"manifest": recorded, "metrics": [row.as_dict() for row in rows]}, out)


def _drawn(shown: ShownGraph, graph: Path, data: Path, n: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``n`` of the pictures that the graph is about, sorted rows of the pairs."""
    about = np.unique(shown.entity_pair[shown.entity_pair >= 0])
    keys = read_table(graph / "entities.parquet", ["image_key"])["image_key"]
    if not len(about) and keys.null_count < len(keys):
        raise InputError(
            "none of the graph's pictures is there", str(data), "give the data that the graph was built with"
        )
    return np.sort(rng.choice(about, min(n, len(about)), replace=False))


def _rank_all(
    encoder: MultiModalEncoder,
    encoded: EncodedGraph,
    questions: list[Questions],
    n_texts: int,
    rng: np.random.Generator,
) -> dict[str, Ranked]:
    """By kind of question, e.g. text_to_image: a text is shown, an image is asked for."""
    parts: dict[str, list[Ranked]] = {}
    n, is_image = len(encoded.answers), encoded.answers >= n_texts
    for each in track(questions, "rank answers"):
        asked, known, train = (_places(encoded.answers, rows) for rows in (each.asked, each.known, each.train))
        known = known[(known >= 0).all(axis=1)]
        scorers = _scorer(encoder, encoded), _scattered(frequency_scorer(train, n), rng), _equal(n)
        model, counting, equal = (
            filtered_ranks(_among(scorer, is_image, each.way), asked, known, n) for scorer in scorers
        )
        words = ["image" if as_image else "text" for as_image in each.way]
        for side, kind in ((0, f"{words[1]}_to_{words[0]}"), (1, f"{words[0]}_to_{words[1]}")):
            n_answers = 2 * equal[:, side] - 1  # the middle of so many places
            parts.setdefault(kind, []).append(Ranked(model[:, side], counting[:, side], n_answers, each.cluster))
    return {
        kind: Ranked(*(np.concatenate([getattr(each, column) for each in found]) for column in vars(found[0])))
        for kind, found in sorted(parts.items())
    }


def _places(answers: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Triples of contents with both ends as places in ``answers``, -1 = not among them."""
    placed = triples.copy()
    place = np.minimum(np.searchsorted(answers, triples[:, [0, 2]]), len(answers) - 1)
    placed[:, [0, 2]] = np.where(answers[place] == triples[:, [0, 2]], place, -1)
    return placed


def _scorer(encoder: MultiModalEncoder, encoded: EncodedGraph) -> Scorer:
    @torch.no_grad()
    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        device = encoded.as_head.device
        row = np.searchsorted(encoded.asked, encoded.answers[entities])
        shown = encoded.slots.rows(torch.from_numpy(row).to(device))
        relation = encoded.relations.rows(torch.from_numpy(relations).to(device))
        if side == "tail":
            (read,), place, answers = encoder((shown, relation, None)), TAIL, encoded.as_tail
        else:
            (read,), place, answers = encoder((None, relation, shown)), HEAD, encoded.as_head
        return (encoder.entity(read[:, place]) @ answers.T).cpu().numpy()

    return score


def _scattered(scorer: Scorer, rng: np.random.Generator) -> Scorer:
    """Counts with their ties broken at random: 1 / the middle rank of many equal ones is less than luck would reach."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        counts = scorer(entities, relations, side)
        return counts + rng.random(counts.shape, dtype=np.float32)

    return score


def _equal(n: int) -> Scorer:
    return lambda entities, relations, side: np.zeros((len(entities), n), np.float32)


def _among(scorer: Scorer, is_image: np.ndarray, way: tuple[bool, bool]) -> Scorer:
    """The same, with only texts, or only images, as answers."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        return np.where(is_image == way[side == "tail"], scorer(entities, relations, side), NO_ANSWER)

    return score


def _measure(name: str, kind: str, found: Ranked, bootstrap: Bootstrap, options: LinkOptions) -> Iterator[MetricRow]:
    chance = chance_of(found.n_answers)
    for how, ranks in (("", found.model), ("_counting", found.counting)):
        values = {"mrr": 1 / ranks} | {f"hits_at_{k}": ranks <= k for k in HITS}
        for metric, each in values.items():
            full = f"link_prediction/{name}/{kind}_{metric}{how}"
            if len(ranks) < options.minimum_group:
                yield insufficient(full, "all questions", len(ranks))
            else:
                yield clustered_row(full, each, found.cluster, bootstrap, random=chance[metric])
