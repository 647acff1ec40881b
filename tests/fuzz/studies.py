"""Fuzz the reader of study files and their sheets. `python tests/fuzz/studies.py --seconds 300`.

A study that is read says what PyYAML and the csv module read in the same files; everything else is an `InputError`.
"""

import csv
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from evenclip.errors import InputError
from evenclip.study.study import Study, load_study
from support.fuzzing import damaged, main
from support.project import ROOT

STUDY = (ROOT / "tests/workflow/smoke.yaml").read_text()
SHEET = (ROOT / "tests/workflow/smoke.tsv").read_text()
ODD = [
    "", "null", "~", "[]", "{}", "-1", "0", "1e400", ".inf", ".nan", "10000000000000000000000", "true", "'", '"',
    "../x", "a b", "${HOME}", "!!python/object:os.system", "&a *a",
    "*a", "{x: {y: 1}}", "2001-01-01", "0x10", "1_000", "é",
    "<<: {study: x}", "? a", "|", ">", "%", "@", "`", "study: twice", "1:30", "0o17", "yes", "\t",
]  # fmt: skip


def _load(study: bytes, sheet: bytes) -> Study | None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.yaml").write_bytes(study)
        (Path(folder) / "sheet.tsv").write_bytes(sheet)
        (Path(folder) / "study.yaml").write_bytes(
            study.replace(b"tests/workflow/smoke.tsv", f"{folder}/sheet.tsv".encode())
        )
        try:
            return load_study(Path(folder) / "study.yaml")
        except InputError:
            return None


def _compare(given: Any, made: Any, where: str) -> None:
    """All that the file says, and PyYAML reads, is in the study; values only gain what the schema adds."""
    if isinstance(given, dict) and not isinstance(made, dict):
        made = made.model_dump(mode="json") if hasattr(made, "model_dump") else made
    if isinstance(given, dict):
        for key, value in given.items():
            assert str(key) in {str(k) for k in made}, (where, key)
            _compare(value, made[key], f"{where}.{key}")
    elif isinstance(given, list):
        assert len(given) == len(made), (where, given, made)
        for item, own in zip(given, made, strict=True):
            _compare(item, own, where)
    elif isinstance(given, bool) or given is None:
        assert given == made, (where, given, made)
    elif isinstance(given, int | float):
        assert float(given) == float(made), (where, given, made)


def _check(study: Study, text: bytes, sheet: bytes) -> None:
    values = yaml.safe_load(os.path.expandvars(text.decode()))
    dumped = study.config.model_dump(mode="json")
    for block in ("study", "seeds", "data", "balance", "train"):
        if block in values:
            _compare(values[block], dumped[block], block)
    rows = list(csv.DictReader(io.StringIO(sheet.decode("utf-8-sig"), newline=""), delimiter="\t"))
    assert [row["run"] for row in rows] == list(study.runs), (sheet, list(study.runs))
    for row in rows:
        run = study.runs[row["run"]]
        assert run.strategy == row["strategy"]
        if row.get("train.lr"):
            assert run.options.lr == float(yaml.safe_load(row["train.lr"])), row


def damaged_studies_are_refused_or_say_what_pyyaml_reads(data: st.DataObject) -> str:
    text, sheet = STUDY.encode(), SHEET.encode()
    if data.draw(st.booleans()):
        text = damaged(data, text)
    else:
        sheet = damaged(data, sheet)
    study = _load(text, sheet)
    if study is None:
        return "refused"
    _check(study, text, sheet)
    return "equal"


def odd_values_are_refused_or_say_what_pyyaml_reads(data: st.DataObject) -> str:
    text, sheet = STUDY, SHEET
    for _ in range(data.draw(st.integers(1, 2))):
        odd = data.draw(st.sampled_from(ODD))
        if data.draw(st.booleans()):
            lines = text.split("\n")
            at = data.draw(st.integers(0, len(lines) - 1))
            head, colon, _ = lines[at].partition(": ")
            lines[at] = f"{head}: {odd}" if colon else f"{lines[at]}{odd}"
            if data.draw(st.integers(0, 4)) == 0:
                lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 1))])
            text = "\n".join(lines)
        else:
            rows = [line.split("\t") for line in sheet.split("\n")]
            row = rows[data.draw(st.integers(0, len(rows) - 1))]
            row[data.draw(st.integers(0, len(row) - 1))] = odd
            sheet = "\n".join("\t".join(row) for row in rows)
    study = _load(text.encode(), sheet.encode())
    if study is None:
        return "refused"
    _check(study, text.encode(), sheet.encode())
    return "equal"


PROPERTIES = [damaged_studies_are_refused_or_say_what_pyyaml_reads, odd_values_are_refused_or_say_what_pyyaml_reads]

if __name__ == "__main__":
    os.chdir(ROOT)
    main(PROPERTIES)
