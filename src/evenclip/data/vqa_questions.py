"""VQA v2's questions and annotations as one table.

Reads `v2_OpenEnded_*_questions.json` and, where there are answers, `v2_*_annotations.json`, item by item; writes
Parquet: question_id, image_key, question, question_type, answer_type, answer (the most frequent), answers (all ten).
Command: `evenclip data questions QUESTIONS.json --annotations FILE --out FILE`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from evenclip.data.json_stream import iterate_items
from evenclip.data.picture_keys import PictureKeys
from evenclip.digests import manifest_beside
from evenclip.errors import InputError
from evenclip.provenance import Manifest, only_writer
from evenclip.tables import write_table

MAX_MALFORMED = 0.05  # share of a file's items
QUESTIONS_SCHEMA = pa.schema(
    [("question_id", pa.int64()), ("image_key", pa.string()), ("question", pa.string()),
     ("question_type", pa.string()), ("answer_type", pa.string()), ("answer", pa.string()),
     ("answers", pa.list_(pa.string()))]
)  # fmt: skip


def write_questions_table(
    questions: str | os.PathLike,
    annotations: str | os.PathLike | None,
    data: str | os.PathLike | None,
    out: str | os.PathLike,
) -> int:
    """Write the questions about pictures that are there to ``out``, and the manifest to its ``.json``.

    Parameters
    ----------
    data : path, optional
        Data folder with the pictures; without it ``image_key`` is the image's id, and every question is written.

    Returns
    -------
    int
        Number of questions written.

    Raises
    ------
    InputError
        If more than `MAX_MALFORMED` of a file's items are not of VQA v2's format (fewer are counted in the manifest), a
        question has no annotation, or no question's picture is there.
    """
    beside = manifest_beside(out)
    inputs = {"questions": questions, "annotations": annotations, "data": data}
    manifest = Manifest("questions", {}, {name: path for name, path in inputs.items() if path is not None})
    pictures = PictureKeys(data)
    malformed: Counter[str] = Counter()
    answers = {} if annotations is None else dict(_annotations(Path(annotations), malformed))
    rows, n_missing = [], 0
    for item in _items(Path(questions), "questions", ("question_id", "image_id", "question"), malformed):
        key, question_id = pictures.of(item["image_id"]), item["question_id"]
        if annotations is not None and question_id not in answers:
            if malformed["annotations"]:
                continue  # its annotation is among those
            raise InputError(f"question {question_id} has no annotation", str(annotations), "give the same split's")
        if key is None:
            n_missing += 1
            continue
        rows.append({"question_id": question_id, "image_key": key, "question": " ".join(item["question"].split())})
        rows[-1] |= answers.get(question_id, {})
    if not rows:
        raise InputError(f"none of {n_missing} questions has its picture there", str(questions), f"see {data}")
    table = pa.Table.from_pylist(rows, schema=QUESTIONS_SCHEMA)
    counts = {"n": len(table), "n_without_picture": n_missing, "n_malformed": dict(malformed)}
    with only_writer(out):
        write_table(table, out)
        manifest.write(beside, [Path(out)], **counts)
    return len(table)


def _annotations(path: Path, malformed: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    needed = ("question_id", "question_type", "answer_type", "multiple_choice_answer", "answers")
    for item in _items(path, "annotations", needed, malformed):
        yield (
            item["question_id"],
            {
                "question_type": item["question_type"],
                "answer_type": item["answer_type"],
                "answer": item["multiple_choice_answer"],
                "answers": [answer["answer"] for answer in item["answers"]],
            },
        )


def _items(path: Path, part: str, needed: tuple[str, ...], malformed: Counter[str]) -> Iterator[dict[str, Any]]:
    """The items that have all ``needed`` members; the others are counted, and too many of them are an error."""
    n = 0
    try:
        with open(path, encoding="utf-8") as file:
            for name, item in iterate_items(file, str(path)):
                if name != part:
                    continue
                n += 1
                if missing := [key for key in needed if not isinstance(item, dict) or key not in item]:
                    malformed[part] += 1
                    last = missing[0]
                else:
                    yield item
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), "check the path") from None
    if malformed[part] > MAX_MALFORMED * n:
        what = f"{malformed[part]} of {n} `{part}` lack a member; the last has no '{last}'"
        raise InputError(what, str(path), "give VQA v2's file")
