"""Questions come with the answers of their own annotation, and with the picture that is asked about."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evenclip.data.options import WorldOptions
from evenclip.data.shards import read_pairs
from evenclip.data.vqa_questions import write_questions_table
from evenclip.data.world.synthesize import synthesize
from evenclip.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "mixed"
    synthesize(folder, "mixed", 20, 0, WorldOptions(image_px=32))
    return folder


def files_of(world: Path) -> tuple[Path, Path]:
    knowledge = world / "knowledge"
    return knowledge / "v2_OpenEnded_world_mixed_questions.json", knowledge / "v2_world_mixed_annotations.json"


def test_the_embedded_worlds_questions(world, tmp_path):
    questions, annotations = files_of(world)
    assert write_questions_table(questions, annotations, world, tmp_path / "q.parquet") == 40
    rows = pq.read_table(tmp_path / "q.parquet").to_pylist()
    keys = read_pairs(world, ["key"]).column("key").to_pylist()
    assert [row["image_key"] for row in rows] == [key for key in keys for _ in range(2)]
    asked = json.loads(questions.read_text())["questions"]
    answered = {
        annotation["question_id"]: annotation for annotation in json.loads(annotations.read_text())["annotations"]
    }
    for row, question in zip(rows, asked, strict=True):
        truth = answered[row["question_id"]]
        assert (row["question"], row["answer"]) == (question["question"], truth["multiple_choice_answer"])
        assert row["answers"] == [answer["answer"] for answer in truth["answers"]] and len(row["answers"]) == 10
        assert (row["question_type"], row["answer_type"]) == (truth["question_type"], truth["answer_type"])


def test_without_answers_or_pictures(world, tmp_path):
    write_questions_table(files_of(world)[0], None, None, tmp_path / "q.parquet")
    row = pq.read_table(tmp_path / "q.parquet").to_pylist()[2]
    assert (row["image_key"], row["answer"], row["answers"]) == ("1", None, None)


def write_questions(path: Path, **question) -> Path:
    item = {"question_id": 5000, "image_id": 5, "question": "Why?"} | question
    path.write_text(json.dumps({"info": {}, "questions": [item, item | {"question_id": 5001, "image_id": 77}]}))
    return path


def test_questions_about_pictures_that_are_not_there_are_counted(world, tmp_path):
    questions = write_questions(tmp_path / "q.json")
    assert write_questions_table(questions, None, world, tmp_path / "out.parquet") == 1
    assert json.loads((tmp_path / "out.json").read_text())["n_without_picture"] == 1
    with pytest.raises(InputError, match="none of 2 questions"):
        write_questions_table(write_questions(tmp_path / "q.json", image_id=78), None, world, tmp_path / "o.parquet")


def test_a_few_broken_items_are_counted(tmp_path):
    items = [{"question_id": n, "image_id": n, "question": "Why?"} for n in range(40)]
    answer = {"question_type": "why", "answer_type": "other", "multiple_choice_answer": "so", "answers": []}
    annotations = [{"question_id": n} | answer for n in range(40)]
    (tmp_path / "q.json").write_text(json.dumps({"questions": [*items, {"question_id": 41}]}))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [{"question_id": 0}, *annotations[1:]]}))
    assert write_questions_table(tmp_path / "q.json", tmp_path / "a.json", None, tmp_path / "out.parquet") == 39
    manifest = json.loads((tmp_path / "out.json").read_text())
    assert manifest["n_malformed"] == {"annotations": 1, "questions": 1}
    (tmp_path / "q.json").write_text(json.dumps({"questions": [*items, *[{}] * 3]}))
    with pytest.raises(InputError, match="3 of 43 `questions`"):
        write_questions_table(tmp_path / "q.json", None, None, tmp_path / "o.parquet")


def test_wrong_files_are_input_errors(world, tmp_path):
    questions, annotations = files_of(world)
    with pytest.raises(InputError, match="question 99 has no annotation"):
        write_questions_table(
            write_questions(tmp_path / "q.json", question_id=99), annotations, None, tmp_path / "o.parquet"
        )
    with pytest.raises(InputError, match="has no 'question_type'"):
        (tmp_path / "a.json").write_text('{"annotations": [{"question_id": 1}]}')
        write_questions_table(questions, tmp_path / "a.json", None, tmp_path / "o.parquet")
    with pytest.raises(InputError, match="none of 0 questions"):
        write_questions_table(annotations, None, None, tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()
