"""The link prediction stage: rank the true heads and tails of held-out triples among all texts or all images.

Writes ``{"manifest": {...}, "metrics": [...]}`` like `evenclip evaluate`. Metrics are
`link_prediction/<name>/<kind>_mrr` and `<kind>_hits_at_<k>`, for the kinds text_to_text, text_to_image, image_to_text
and image_to_image. The suffix `_counting` marks a baseline that ranks answers by their frequency with the relation in
the training split. `random` is the expectation for random ranks.

The query is the multi-modal encoder's embedding of the masked slot, and an answer is its embedding of an entity alone.
They are compared by cosine similarity, as in the entity-to-entity (E2E) training loss. Other true answers are
left out, whatever their split.
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
from evenclip.links.ranking import HITS, Scorer, Side, filtered_ranks, frequency_scorer, random_rank_metrics
from evenclip.model.clip import load_clip, resolve_device
from evenclip.model.identity import model_identity
from evenclip.model.multimodal import HEAD, TAIL, MultiModalEncoder, load_multimodal
from evenclip.model.multimodal_graph import MultiModalGraph, read_multimodal_graph
from evenclip.progress import track
from evenclip.provenance import Manifest
from evenclip.tables import MetricRow, read_table

NO_ANSWER = -2.0  # below every cosine and every count


@dataclass(frozen=True)
class Ranked:
    """Ranks of n questions of one kind, by the model and by the baseline, among ``n_answers`` candidates; all (n,)."""

    model: np.ndarray
    counting: np.ndarray
    n_answers: np.ndarray
    cluster: np.ndarray


def predict_links(model: str, graph: Path, data: Path, name: str, out: Path, seed: int, options: LinkOptions) -> None:
    """Rank the held-out triples of a graph and write the metrics.

    Parameters
    ----------
    model : str
        Run folder of a model trained with knowledge.
    graph : Path
        Folder of `evenclip graph`.
    data : Path
        Data folder with the graph's pictures.
    name : str
        Name of the graph in the metrics.
    out : Path
        JSON file to write.
    seed : int
        Seed for drawing triples, pictures and resamples.
    options : LinkOptions

    Raises
    ------
    InputError
        The model has no multi-modal encoder, or the graph has no triple in that split.
    """
    if not name or "/" in name:
        raise InputError(f"'{name}' cannot name a graph", "--name", "use letters, digits and _, e.g. world")
    read_manifest(data)  # checks that it is a data folder
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
    multimodal = read_multimodal_graph(graph, keys, data, clip.preprocess_cfg)
    pictures = Pictures(data, keys, _draw_pictures(multimodal, graph, data, options.pictures, rng))
    answers = answers_among(multimodal, pictures.rows)
    questions = list(draw_questions(multimodal, answers, options.split, options.triples, rng))
    if not questions:
        what = f"no triple of the split '{options.split}' is left to predict"
        hint = f"build the graph with {options.split}_share above 0, and a larger one"
        raise InputError(what, str(graph / "triples.parquet"), hint)
    asked = np.unique(np.concatenate([group.asked[:, [0, 2]].ravel() for group in questions]))
    settings = pictures, described["region_side"], options.threads
    encoded = encode_graph(clip, encoder, multimodal, answers, asked, *settings)
    ranked = _rank_all(encoder, encoded, questions, len(multimodal.texts), rng)
    bootstrap = Bootstrap(options.resamples, seed)
    rows = [row for kind, ranks in ranked.items() for row in _measure(name, kind, ranks, bootstrap, options)]
    counts = {"n": sum(len(ranks.model) for ranks in ranked.values()), "n_pictures": len(pictures.rows)}
    counts |= {"n_answers": len(answers)}
    manifest.write_metrics([row.as_dict() for row in rows], out, model_identity=model_identity(model), **counts)


def _draw_pictures(
    multimodal: MultiModalGraph, graph: Path, data: Path, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw at most ``n`` of the graph's pictures; sorted rows of the pairs."""
    rows = np.unique(multimodal.entity_pair[multimodal.entity_pair >= 0])
    keys = read_table(graph / "entities.parquet", ["image_key"])["image_key"]
    if not len(rows) and keys.null_count < len(keys):
        raise InputError(
            "none of the graph's pictures is in the data folder",
            str(data),
            "give the data that the graph was built with",
        )
    return np.sort(rng.choice(rows, min(n, len(rows)), replace=False))


def _rank_all(
    encoder: MultiModalEncoder,
    encoded: EncodedGraph,
    questions: list[Questions],
    n_texts: int,
    rng: np.random.Generator,
) -> dict[str, Ranked]:
    """Ranks by kind of question; in text_to_image a text is given and an image is predicted."""
    parts: dict[str, list[Ranked]] = {}
    n, is_image = len(encoded.answers), encoded.answers >= n_texts
    for group in track(questions, "rank answers"):
        asked, true_triples, train = (
            _answer_rows(encoded.answers, rows) for rows in (group.asked, group.true_triples, group.train)
        )
        true_triples = true_triples[(true_triples >= 0).all(axis=1)]
        scorers = _scorer(encoder, encoded), _with_random_ties(frequency_scorer(train, n), rng), _constant_scorer(n)
        model, counting, equal = (
            filtered_ranks(_restricted(scorer, is_image, group.way), asked, true_triples, n) for scorer in scorers
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
    """Triples with both contents replaced by their rows in ``answers``; -1 = not among them."""
    located = triples.copy()
    row = np.minimum(np.searchsorted(answers, triples[:, [0, 2]]), len(answers) - 1)
    located[:, [0, 2]] = np.where(answers[row] == triples[:, [0, 2]], row, -1)
    return located


def _scorer(encoder: MultiModalEncoder, encoded: EncodedGraph) -> Scorer:
    @torch.no_grad()
    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        device = encoded.as_head.device
        row = np.searchsorted(encoded.asked, encoded.answers[entities])
        given = encoded.slots.rows(torch.from_numpy(row).to(device))
        relation = encoded.relations.rows(torch.from_numpy(relations).to(device))
        if side == "tail":
            (output,), slot, answers = encoder((given, relation, None)), TAIL, encoded.as_tail
        else:
            (output,), slot, answers = encoder((None, relation, given)), HEAD, encoded.as_head
        return (encoder.entity(output[:, slot]) @ answers.T).cpu().numpy()

    return score


def _with_random_ties(scorer: Scorer, rng: np.random.Generator) -> Scorer:
    """Break ties of counts at random: the reciprocal of a middle rank is below the expected reciprocal rank."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        counts = scorer(entities, relations, side)
        return counts + rng.random(counts.shape, dtype=np.float32)

    return score


def _constant_scorer(n: int) -> Scorer:
    return lambda entities, relations, side: np.zeros((len(entities), n), np.float32)


def _restricted(scorer: Scorer, is_image: np.ndarray, way: tuple[bool, bool]) -> Scorer:
    """Restrict a scorer's answers to texts or to images, as ``way`` says for the predicted side."""

    def score(entities: np.ndarray, relations: np.ndarray, side: Side) -> np.ndarray:
        return np.where(is_image == way[side == "tail"], scorer(entities, relations, side), NO_ANSWER)

    return score


def _measure(name: str, kind: str, ranked: Ranked, bootstrap: Bootstrap, options: LinkOptions) -> Iterator[MetricRow]:
    chance = random_rank_metrics(ranked.n_answers)
    for suffix, ranks in (("", ranked.model), ("_counting", ranked.counting)):
        values = {"mrr": 1 / ranks} | {f"hits_at_{k}": ranks <= k for k in HITS}
        for metric, per_question in values.items():
            full = f"link_prediction/{name}/{kind}_{metric}{suffix}"
            if len(ranks) < options.minimum_group:
                yield insufficient(full, "all questions", len(ranks))
            else:
                yield clustered_row(full, per_question, ranked.cluster, bootstrap, random=chance[metric])
