"""The VQA stage: train an answer head on the questions of one split and measure it on those of another.

Writes ``{"manifest": {...}, "metrics": [...]}`` like `evenclip evaluate`: `vqa/<set>/accuracy` over all questions and,
as groups, by the property that they ask for. `random` is the accuracy of the most frequent answer to each type.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from evenclip.data.shards import read_manifest
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap, clustered_row
from evenclip.evaluate.measurement import insufficient
from evenclip.model.clip import Clip, load_clip, resolve_device
from evenclip.model.identity import model_identity
from evenclip.model.multimodal import MultiModalEncoder, load_multimodal
from evenclip.model.tokens import token_widths
from evenclip.progress import track
from evenclip.provenance import Manifest
from evenclip.tables import MetricRow, read_table
from evenclip.vqa.answers import normalise_answer, property_of, soft_accuracy, soft_targets
from evenclip.vqa.head import AnswerHead, Encoded, encode
from evenclip.vqa.options import QuestionSet, VqaOptions


@dataclass(frozen=True)
class Questions:
    """n questions: types (``kinds``), annotators' answers, and rows in the distinct ``pictures`` and ``texts``."""

    kinds: list[str]
    answers: list[list[str]]
    pictures: list[str]
    texts: list[str]
    picture: np.ndarray
    text: np.ndarray


def answer_questions(
    model: str, train: QuestionSet, test: QuestionSet, name: str, out: Path, seed: int, options: VqaOptions
) -> None:
    """Train the head on one set of questions, measure it on another, and write the metrics.

    Parameters
    ----------
    model : str
        As in `evenclip.embed.run.embed_sets`; must be a run folder if ``options.start`` is `knowledge`.
    train, test : QuestionSet
        Tables of `evenclip data questions` with answers. Answers are learnt from ``train`` only.
    name : str
        Name of the test set in the metrics.
    out : Path
        JSON file to write.
    seed : int
    options : VqaOptions

    Raises
    ------
    InputError
        A question lacks answers or its picture, or the model lacks the required multi-modal encoder.
    """
    if not name or "/" in name:
        raise InputError(f"'{name}' cannot name a set", "--name", "use letters, digits and _, e.g. world_mixed")
    for questions in (train, test):
        read_manifest(questions.data)  # checks that it is a data folder
    inputs = {"dataset": test.data, "questions": test.questions}  # "dataset": the name that `evenclip evaluate` uses
    inputs |= {"train data": train.data, "train questions": train.questions}
    if Path(model).exists():
        inputs["model"] = Path(model) / "model.safetensors" if Path(model).is_dir() else Path(model)
    train_questions, test_questions = _read(train), _read(test)
    manifest = Manifest("vqa", {"model": model, "name": name, **options.model_dump(mode="json")}, inputs, seed)
    torch.set_num_threads(options.threads)
    clip = load_clip(model)
    clip.module.to(resolve_device(options.device)).eval()
    torch.manual_seed(seed)
    frequent = _frequent(train_questions, options.n_answers)
    head = AnswerHead(_encoder(clip, model, options), len(frequent)).to(clip.module.logit_scale.device)
    settings = options.image_side, options.threads
    encoded = encode(clip, train.data, train_questions.pictures, train_questions.texts, *settings)
    _train(head, train_questions, encoded, frequent, seed, options)
    encoded = encode(clip, test.data, test_questions.pictures, test_questions.texts, *settings)
    predicted = [frequent[i] for i in _predict(head, test_questions, encoded, options.batch_size)]
    bootstrap = Bootstrap(options.resamples, seed)
    rows = list(_measure(name, predicted, train_questions, test_questions, bootstrap, options))
    counts = {"n": len(test_questions.kinds), "n_train": len(train_questions.kinds), "n_answers": len(frequent)}
    manifest.write_metrics([row.as_dict() for row in rows], out, model_identity=model_identity(model), **counts)


def _read(questions: QuestionSet) -> Questions:
    table = read_table(questions.questions, ["image_key", "question", "question_type", "answers"])
    answers = table["answers"].to_pylist()
    if not answers or not all(answers):
        raise InputError("a question has no answers", str(questions.questions), "write the table with --annotations")
    pictures, picture = np.unique(table["image_key"].to_pylist(), return_inverse=True)
    texts, text = np.unique(table["question"].to_pylist(), return_inverse=True)
    kinds = table["question_type"].to_pylist()
    return Questions(kinds, answers, pictures.tolist(), texts.tolist(), picture, text)


def _frequent(questions: Questions, n_answers: int) -> list[str]:
    """Most frequent answers; ties in alphabetical order."""
    counts = Counter(normalise_answer(answer) for given in questions.answers for answer in given)
    return sorted(counts, key=lambda answer: (-counts[answer], answer))[:n_answers]


def _encoder(clip: Clip, model: str, options: VqaOptions) -> MultiModalEncoder:
    if options.start == "knowledge":
        return load_multimodal(Path(model))[0]
    widths = token_widths(clip.module, clip.preprocess_cfg)
    return MultiModalEncoder(*widths, max(widths), options.layers, clip.model_cfg["embed_dim"])


def _train(
    head: AnswerHead, questions: Questions, encoded: Encoded, frequent: list[str], seed: int, options: VqaOptions
) -> None:
    """Train with cross-entropy on the shares of annotators per answer; AdamW, one-cycle learning rate."""
    targets = torch.from_numpy(soft_targets(questions.answers, frequent))
    n_steps, rng = -(-options.questions_seen // options.batch_size), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=n_steps)
    for _ in track(range(n_steps), "train the answer head"):
        rows = rng.choice(len(targets), min(options.batch_size, len(targets)), replace=False)
        logits = head(*_inputs(head, questions, encoded, rows))
        optimizer.zero_grad()
        F.cross_entropy(logits, targets[rows].to(logits.device)).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _predict(head: AnswerHead, questions: Questions, encoded: Encoded, batch_size: int) -> list[int]:
    """Index of the most probable answer to each question."""
    head.eval()
    parts = np.array_split(np.arange(len(questions.kinds)), -(-len(questions.kinds) // batch_size))
    return [int(i) for rows in parts for i in head(*_inputs(head, questions, encoded, rows)).argmax(1)]


def _inputs(head: AnswerHead, questions: Questions, encoded: Encoded, rows: np.ndarray) -> Iterator[torch.Tensor]:
    picture, text = torch.from_numpy(questions.picture[rows]), torch.from_numpy(questions.text[rows])
    device = head.classify.weight.device
    return (x.to(device) for x in (encoded.pictures[picture], encoded.questions[text], encoded.is_shown[text]))


def _measure(
    name: str, predicted: list[str], train: Questions, test: Questions, bootstrap: Bootstrap, options: VqaOptions
) -> Iterator[MetricRow]:
    prior = _prior(train)
    most_frequent = [prior.get(kind, prior[""]) for kind in test.kinds]
    hits, chance = (
        np.array([soft_accuracy(answer, given) for answer, given in zip(answers, test.answers, strict=True)])
        for answers in (predicted, most_frequent)
    )
    properties = np.array([property_of(text) for text in test.texts])[test.text]
    for group in ("", *sorted(set(properties.tolist()))):
        rows = np.ones(len(hits), bool) if not group else properties == group
        if rows.sum() < options.minimum_group:
            yield insufficient(f"vqa/{name}/accuracy", group or "all questions", int(rows.sum()))
            continue
        pictures, group_chance = test.picture[rows], float(chance[rows].mean())
        yield clustered_row(f"vqa/{name}/accuracy", hits[rows], pictures, bootstrap, group, group_chance)


def _prior(questions: Questions) -> dict[str, str]:
    """Most frequent answer to each type of question; the key "" stands for all questions."""
    counts: dict[str, Counter] = {"": Counter()}
    for kind, given in zip(questions.kinds, questions.answers, strict=True):
        for answer in map(normalise_answer, given):
            counts[""][answer] += 1
            counts.setdefault(kind, Counter())[answer] += 1
    return {kind: max(sorted(count), key=count.get) for kind, count in counts.items()}
