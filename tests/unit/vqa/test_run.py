"""The answer head: learns from the training split's questions alone, in both starts; what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from evenclip.data.vqa_questions import QUESTIONS_SCHEMA
from evenclip.errors import InputError
from evenclip.evaluate.bootstrap import Bootstrap
from evenclip.model.clip import create_clip, save_clip
from evenclip.model.multimodal import MultiModalEncoder, save_multimodal
from evenclip.tables import write_table
from evenclip.vqa import QuestionSet, VqaOptions, answer_questions
from evenclip.vqa.run import Questions, _measure
from support.tiny_training import COLORS, write_model, write_squares

N = 80
NAMES = list(COLORS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vqa")
    torch.manual_seed(0)
    clip = create_clip(str(write_model(root / "tiny.json")))
    (root / "model").mkdir()
    save_clip(clip, root / "model")
    for split in ("train", "test"):
        write_squares(root / split, N)
        questions(root / f"{split}.parquet", split)
    return root


def questions(path: Path, split: str, shift: int = 0) -> Path:
    """What colour a square is, and whether it is red; ten people, one of whom is wrong."""
    rows = []
    for i in range(N):
        color = NAMES[(i + shift) % len(NAMES)]
        answer, wrong = (color, "odd") if i % 3 else ("yes" if color == "red" else "no", "maybe")
        text = "What color is this?" if i % 3 else "Is this red and no other?"
        rows.append({"question_id": i, "image_key": f"{i:05d}", "question": text, "question_type": text[:4],
                     "answer_type": "other", "answer": answer, "answers": [answer] * 9 + [wrong]})  # fmt: skip
    write_table(pa.Table.from_pylist(rows, schema=QUESTIONS_SCHEMA), path)
    return path


def run(folder: Path, out: Path, model: str = "model", **options) -> dict[str, dict]:
    sets = [QuestionSet(folder / f"{split}.parquet", folder / split) for split in ("train", "test")]
    defaults = {"questions_seen": 2400, "batch_size": 32, "lr": 3e-3, "layers": 1, "image_side": 2, "minimum_group": 10}
    parsed = VqaOptions.parse(defaults | {"device": "cpu"} | options, "test")
    answer_questions(str(folder / model), *sets, "squares", out, 0, parsed)
    content = json.loads(out.read_text())
    assert content["manifest"]["n"] == N
    assert {row["metric"] for row in content["metrics"]} == {"vqa/squares/accuracy"}
    return {row["group"]: row for row in content["metrics"]}


def test_the_head_learns_to_answer_and_is_measured_by_property(folder: Path, tmp_path: Path):
    rows = run(folder, tmp_path / "vqa.json")
    assert set(rows) == {"", "color", "negation"}
    assert rows[""]["n"] == N == rows["color"]["n"] + rows["negation"]["n"]
    assert rows["color"]["value"] > 0.9 > 0.5 > rows["color"]["random"]
    assert rows["color"]["ci_low"] <= rows["color"]["value"] <= rows["color"]["ci_high"]
    again = run(folder, tmp_path / "again.json")
    assert again == rows


def test_a_run_with_knowledge_gives_its_encoder(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="trained with knowledge"):
        run(folder, tmp_path / "vqa.json", start="knowledge")
    torch.manual_seed(0)
    knowing = folder / "knowing"
    knowing.mkdir()
    save_clip(create_clip(str(folder / "tiny.json")), knowing)
    save_multimodal(MultiModalEncoder(32, 32, 32, 1, 16), knowing, region_side=2)
    rows = run(folder, tmp_path / "vqa.json", model="knowing", start="knowledge", questions_seen=64)
    assert rows[""]["value"] >= 0


def test_questions_about_one_picture_are_resampled_together():
    def measured(copies: int) -> dict:
        n = 40 * copies
        asked = Questions(["x"] * n, [["yes"] * 10] * n, [], ["Is it?"], np.arange(n) // copies, np.zeros(n, dtype=int))
        chosen = np.repeat(["yes", "no"], n // 2).tolist()
        rows = _measure("s", chosen, asked, asked, Bootstrap(500, 0), VqaOptions())
        return next(row.as_dict() for row in rows if row.group == "")

    single, five = measured(1), measured(5)
    assert [single[end] for end in ("value", "ci_low", "ci_high")] == [
        five[end] for end in ("value", "ci_low", "ci_high")
    ]
    assert five["n"] == 200 and single["ci_high"] - single["ci_low"] > 0.2


def test_small_groups_get_no_number(folder: Path, tmp_path: Path):
    rows = run(folder, tmp_path / "vqa.json", questions_seen=64, minimum_group=40)
    assert rows["negation (insufficient)"]["value"] is None


def test_questions_without_picture_or_answers_are_named(folder: Path, tmp_path: Path):
    table = pa.Table.from_pylist(
        [{"image_key": "strange", "question": "Is it?", "question_type": "is", "answers": ["yes"]}], QUESTIONS_SCHEMA
    )
    write_table(table, tmp_path / "strange.parquet")
    silent = table.set_column(6, "answers", pa.array([None], pa.list_(pa.string())))
    write_table(silent, tmp_path / "silent.parquet")
    train, options = (
        QuestionSet(folder / "train.parquet", folder / "train"),
        VqaOptions(questions_seen=64, batch_size=8),
    )
    for name, message in (("strange", "picture strange"), ("silent", "no answers")):
        test = QuestionSet(tmp_path / f"{name}.parquet", folder / "test")
        with pytest.raises(InputError, match=message):
            answer_questions(str(folder / "model"), train, test, "squares", tmp_path / "out.json", 0, options)
    with pytest.raises(InputError, match="QUESTIONS=DATA"):
        QuestionSet.from_argument("questions", "--train")
