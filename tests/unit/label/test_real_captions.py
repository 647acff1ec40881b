"""Labels of real captions against what a careful annotator says of them.

`real_caption_cases.tsv` has captions from Flickr8k, COCO val2017, the CC3M validation set, VALSE and SugarCrepe (text
only), picked because they are hard: denials, false friends, possessives. A row says whether one column of a shipped
lexicon holds for the caption: does it name such a person or thing as shown? `limit` names why a lexicon cannot know.
"""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from evenclip.label import read_lexicon
from evenclip.label.matching import Matcher

CASES = Path(__file__).with_name("real_caption_cases.tsv")


def read_cases() -> list[dict[str, str]]:
    with open(CASES, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def matchers(request) -> dict[str, Matcher]:
    folder = request.config.rootpath / "config" / "lexicons"
    return {name: Matcher(read_lexicon(folder / f"{name}.yaml")) for name in ("people", "flickr8k")}


def holds(matcher: Matcher, caption: str, column: str) -> bool:
    return bool(matcher.match([caption]).labels[0, matcher.columns.index(column)])


def parameters() -> list:
    return [
        pytest.param(
            case,
            id=f"{case['column']}: {case['caption'][:60]}",
            marks=[pytest.mark.xfail(strict=True, reason=case["limit"])] if case["limit"] else [],
        )
        for case in read_cases()
    ]


@pytest.mark.parametrize("case", parameters())
def test_a_real_caption_is_labelled_as_an_annotator_would(matchers, case):
    assert holds(matchers[case["lexicon"]], case["caption"], case["column"]) == (case["expected"] == "true")


def test_the_table_is_large_and_balanced_with_few_known_limits():
    cases = read_cases()
    kinds = Counter(case["kind"] for case in cases)
    assert len(cases) >= 150
    assert kinds["negation"] >= 30 and kinds["false_friend"] >= 60
    assert {"plural", "possessive", "case", "compound"} <= set(kinds)
    assert sum(case["expected"] == "true" for case in cases) >= len(cases) / 3
    assert sum(bool(case["limit"]) for case in cases) <= 6
    assert len({(case["caption"], case["lexicon"], case["column"]) for case in cases}) == len(cases)


def test_precision_and_recall_of_each_column(matchers, record_property):
    """Prints the table (`pytest -rP`); the known limits count as the mistakes they are."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for case in read_cases():
        named = holds(matchers[case["lexicon"]], case["caption"], case["column"])
        counts[f"{case['lexicon']} {case['column']}"][(named, case["expected"] == "true")] += 1
    print(f"{'column':44}{'n':>5}{'precision':>11}{'recall':>8}")
    for column, count in sorted(counts.items()):
        hits = count[True, True]
        precision = hits / (hits + count[True, False]) if hits + count[True, False] else None
        recall = hits / (hits + count[False, True]) if hits + count[False, True] else None
        cells = ["-" if share is None else f"{share:.2f}" for share in (precision, recall)]
        print(f"{column:44}{count.total():5}{cells[0]:>11}{cells[1]:>8}")
        record_property(column, f"n={count.total()} precision={cells[0]} recall={cells[1]}")
    wrong = sum(count[True, False] + count[False, True] for count in counts.values())
    assert wrong == sum(bool(case["limit"]) for case in read_cases())
