"""The link prediction stage: rank the true heads and tails of held-out triples among all texts, or all images.

Writes ``{"manifest": {...}, "metrics": [...]}`` like `evenclip evaluate`: `link_prediction/<name>/<kind>_mrr` and
`<kind>_hits_at_<k>`, of the kinds text_to_text, text_to_image, image_to_text and image_to_image; and the same with
the suffix `_counting` for a baseline: how often each answer has the relation in the training split. `random` is the
expectation of random ranks.

A query is the multi-modal encoder's view of the masked slot, an answer its view of an entity alone; they are compared
by their cosine, as the entity-to-entity (E2E) loss trains them. Other true answers, of any split, are left out.
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
from evenclip.model.multimodal_graph import MultiModalGraph, read_multimodal_graph
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
    """Rank the held-out triples of a graph and write the metrics.

    Parameters
    ----------
    model : str
        A run folder that was trained with knowledge.
    graph : Path
        Folder of `evenclip graph`.
    data : Path
        Data folder with the graph's pictures.
    name : str
        Name of the graph in the metrics.
    out : Path
        JSON file to write.
    seed : int
        Seed of triples, pictures and resamples.
    options : LinkOptions

    Raises
    ------
    InputError
        If the model has no multi-modal encoder, or the graph no triple in the split asked for.
    """
    if not name or "/" in name:
        raise InputError(f"'{name}' cannot name a graph", "--name", "use letters, digits and _, e.g. world")
    read_manifest(data)  # refuses what is no data folder
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
    shown = read_multimodal_graph(graph, keys, data, clip.preprocess_cfg)
    pictures = Pictures(data, keys, _drawn(shown, graph, data, options.pictures, rng))
    answers = answers_among(shown, pictures.rows)
    questions = list(draw_questions(shown, answers, options.split, options.triples, rng))
    if not questions:
        what = f"no triple of the split '{options.split}' is left to ask for"
        hint = f"build the graph with {options.split}_share above 0, and a larger one"
        raise InputError(what, str(graph / "triples.parquet"), hint)
    asked = np.unique(np.concatenate([group.asked[:, [0, 2]].ravel() for group in questions]))
    settings = pictures, described["region_side"], options.threads
    encoded = encode_graph(clip, encoder, shown, answers, asked, *settings)
    ranked = _rank_all(encoder, encoded, questions, len(shown.texts), rng)
    bootstrap = Bootstrap(options.resamples, seed)
    rows = [row for kind, ranks in ranked.items() for row in _measure(name, kind, ranks, bootstrap, options)]
    counts = {"n": sum(len(ranks.model) for ranks in ranked.values()), "n_pictures": len(pictures.rows)}
    recorded = manifest.as_dict(model_identity=model_identity(model), n_answers=len(answers), **counts)
    write_json({"manifest": recorded, "metrics": [row.as_dict() for row in rows]}, out)


def _drawn(shown: MultiModalGraph, graph: Path, data: Path, n: int, rng: np.random.Generator) -> np.ndarray:
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
    for group in track(questions, "rank answers"):
        asked, known, train = (_answer_rows(encoded.answers, rows) for rows in (group.asked, group.known, group.train))
        known = known[(known >= 0).all(axis=1)]
        scorers = _scorer(encoder, encoded), _scattered(frequency_scorer(train, n), rng), _equal(n)
        model, counting, equal = (
            filtered_ranks(_among(scorer, is_image, group.way), asked, known, n) for scorer in scorers
        )
        words = ["image" if as_image else "text" for as_image in group.way]
        for side, kind in ((0, f"{words[1]}_to_{words[0]}"), (1, f"{words[0]}_to_{words[1]}")):
            n_answers = 2 * equal[:, side] - 1  # n equal scores have the rank (n + 1) / 2
            parts.setdefault(kind, []).append(Ranked(model[:, side], counting[:, side], n_answers, group.cluster))
    return {
        kind: Ranked(*(np.concatenate([getattr(part, column) for part in group]) for column in vars(group[0])))
        for kind, group in sorted(parts.items())
    }


def _answer_rows(answers: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Triples of contents with both ends as rows of ``answers``, -1 = not among them."""
    located = triples.copy()
    row = np.minimum(np.searchsorted(answers, triples[:, [0, 2]]), len(answers) - 1)
    located[:, [0, 2]] = np.where(answers[row] == triples[:, [0, 2]], row, -1)
    return located


def _scorer(encoder: MultiModalEncoder, encoded: EncodedGraph) -> Scorer:
    @torch.no_grad()
    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        device = encoded.as_head.device
        row = np.searchsorted(encoded.asked, encoded.answers[entities])
        shown = encoded.slots.rows(torch.from_numpy(row).to(device))
        relation = encoded.relations.rows(torch.from_numpy(relations).to(device))
        if side == "tail":
            (read,), slot, answers = encoder((shown, relation, None)), TAIL, encoded.as_tail
        else:
            (read,), slot, answers = encoder((None, relation, shown)), HEAD, encoded.as_head
        return (encoder.entity(read[:, slot]) @ answers.T).cpu().numpy()

    return score


def _scattered(scorer: Scorer, rng: np.random.Generator) -> Scorer:
    """Counts with random tie-breaking: the reciprocal of a tie's middle rank is below the expected reciprocal rank."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        counts = scorer(entities, relations, side)
        return counts + rng.random(counts.shape, dtype=np.float32)

    return score


def _equal(n: int) -> Scorer:
    return lambda entities, relations, side: np.zeros((len(entities), n), np.float32)


def _among(scorer: Scorer, is_image: np.ndarray, way: tuple[bool, bool]) -> Scorer:
    """A scorer whose answers are only texts, or only images, as ``way`` says of the side asked for."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        return np.where(is_image == way[side == "tail"], scorer(entities, relations, side), NO_ANSWER)

    return score


def _measure(name: str, kind: str, ranked: Ranked, bootstrap: Bootstrap, options: LinkOptions) -> Iterator[MetricRow]:
    chance = chance_of(ranked.n_answers)
    for how, ranks in (("", ranked.model), ("_counting", ranked.counting)):
        values = {"mrr": 1 / ranks} | {f"hits_at_{k}": ranks <= k for k in HITS}
        for metric, per_question in values.items():
            full = f"link_prediction/{name}/{kind}_{metric}{how}"
            if len(ranks) < options.minimum_group:
                yield insufficient(full, "all questions", len(ranks))
            else:
                yield clustered_row(full, per_question, ranked.cluster, bootstrap, random=chance[metric])
