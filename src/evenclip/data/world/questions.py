"""Questions about scenes of the embedded world, with the answers of ten people who now and then are wrong.

Writes the two files of VQA v2 for a split: `v2_OpenEnded_world_<split>_questions.json` and
`v2_world_<split>_annotations.json`. The kinds are those that knowledge should help with: colour, size, position,
negation, and the setting. Yes and no are equally frequent within a kind.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evenclip.data.world.captions import RELATION
from evenclip.data.world.scene import COLORS, OBJECT_CLASSES, OPPOSITE, SETTINGS, SIZES, Figure, Scene, pick

QUESTIONS_PER_SCENE = 2
N_ANSWERS = 10
MISTAKE_SHARE = 0.1
"""P(one of the ten gives another answer)."""

_LICENSE = {"url": "https://www.apache.org/licenses/LICENSE-2.0", "name": "Apache License 2.0"}


def write_questions(folder: Path, split: str, scenes: Sequence[Scene], rngs: Sequence[np.random.Generator]) -> None:
    """Write the questions and annotations of a split; each scene has a generator of its own."""
    questions, annotations = [], []
    for image_id, (scene, rng) in enumerate(zip(scenes, rngs, strict=True)):
        kinds = rng.permutation(len(_KINDS))[:QUESTIONS_PER_SCENE]
        for number, kind in enumerate(kinds):
            ids = {"image_id": image_id, "question_id": 1000 * image_id + number}
            question_type, question, answer, others = _KINDS[kind](scene, rng)
            questions.append({**ids, "question": question})
            annotations.append(_annotation(rng, question_type, answer, others) | ids)
    head = {"info": {"description": "The embedded world of evenclip", "version": "1.0"}, "license": _LICENSE,
            "data_type": "world", "data_subtype": split}  # fmt: skip
    files = {
        f"v2_OpenEnded_world_{split}_questions": head | {"task_type": "Open-Ended", "questions": questions},
        f"v2_world_{split}_annotations": head | {"annotations": annotations},
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _annotation(rng: np.random.Generator, question_type: str, truth: str, others: tuple[str, ...]) -> dict[str, Any]:
    """Ten answers, most of them ``truth``; the most frequent one counts, as in VQA v2."""
    wrong = rng.random(N_ANSWERS) < MISTAKE_SHARE
    given = [pick(rng, others) if mistaken else truth for mistaken in wrong]
    answers = [
        {"answer_id": number, "answer": answer, "answer_confidence": "yes"}
        for number, answer in enumerate(given, start=1)
    ]
    return {
        "question_type": question_type,
        "answer_type": "yes/no" if truth in ("yes", "no") else "other",
        "multiple_choice_answer": Counter(given).most_common(1)[0][0],
        "answers": answers,
    }


_Asked = tuple[str, str, str, tuple[str, ...]]
"""Question type, question, the true answer, the answers that are wrong."""


def _color(scene: Scene, rng: np.random.Generator) -> _Asked:
    thing = scene.things[rng.integers(len(scene.things))]
    return "what color is the", f"What color is the {thing.shape}?", thing.color, _without(COLORS, thing.color)


def _size(scene: Scene, rng: np.random.Generator) -> _Asked:
    thing = scene.things[rng.integers(len(scene.things))]
    return "what size is the", f"What size is the {thing.name}?", thing.size, _without(SIZES, thing.size)


def _position(scene: Scene, rng: np.random.Generator) -> _Asked:
    asked = pick(rng, (scene.place, OPPOSITE[scene.place]))
    first = scene.things[0].name
    if scene.figure or len(scene.things) > 1:
        companion = _figure_name(scene.figure) if scene.figure else scene.things[1].name
        return _yes_no("is the", f"Is the {first} {RELATION[asked]} the {companion}?", asked == scene.place)
    half = {"left": "left half", "right": "right half", "above": "upper half", "below": "lower half"}[asked]
    return _yes_no("is the", f"Is the {first} in the {half}?", asked == scene.place)


def _figure_name(figure: Figure) -> str:
    return figure.occupation if figure.tool == "clear" else "person"


def _negation(scene: Scene, rng: np.random.Generator) -> _Asked:
    present = tuple(thing.name for thing in scene.things)
    absent = rng.random() < 0.5
    asked = pick(rng, _without(OBJECT_CLASSES, *present) if absent else present)
    return _yes_no("is there no", f"Is there no {asked}?", absent)


def _setting(scene: Scene, rng: np.random.Generator) -> _Asked:
    return "where is", "Where is this?", scene.setting, _without(SETTINGS, scene.setting)


def _yes_no(question_type: str, question: str, is_so: bool) -> _Asked:
    return question_type, question, "yes" if is_so else "no", ("no" if is_so else "yes",)


def _without(values: tuple[str, ...], *left_out: str) -> tuple[str, ...]:
    return tuple(value for value in values if value not in left_out)


_KINDS = (_color, _size, _position, _negation, _setting)
