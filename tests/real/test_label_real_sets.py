"""The table of hard captions holds captions as the sets have them."""

import csv
import json
from pathlib import Path

import pytest

from support.project import ROOT

pytestmark = pytest.mark.real
CASES = ROOT / "tests/unit/label/real_caption_cases.tsv"


def texts_of(folder: Path) -> list[str]:
    """Captions and foils of a set of JSON files that map ids to items."""
    items = [item for path in sorted(folder.glob("*.json")) for item in json.loads(path.read_text()).values()]
    return [item[name] for item in items for name in ("caption", "foil", "negative_caption") if name in item]


@pytest.fixture(scope="module")
def captions(real_data) -> dict[str, set[str]]:
    """The captions of each set, runs of white space as one space."""
    with open(real_data / "flickr8k" / "captions.txt", newline="") as file:
        flickr8k = [row["caption"] for row in csv.DictReader(file)]
    coco = json.loads((real_data / "coco" / "annotations" / "captions_val2017.json").read_text())["annotations"]
    cc3m = (real_data / "cc3m" / "Validation_GCC-1.1.0-Validation.tsv").read_text().splitlines()
    shares = {
        "flickr8k": flickr8k,
        "coco": [annotation["caption"] for annotation in coco],
        "cc3m": [line.split("\t")[0] for line in cc3m],
        "valse": [text for text in texts_of(real_data / "valse" / "data") if isinstance(text, str)],
        "sugarcrepe": texts_of(real_data / "sugarcrepe" / "data"),
    }
    return {name: {" ".join(text.split()) for text in texts} for name, texts in shares.items()}


def test_every_case_is_a_real_caption(captions):
    with open(CASES, encoding="utf-8", newline="") as file:
        cases = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [case["caption"] for case in cases if case["caption"] not in captions[case["source"]]] == []
