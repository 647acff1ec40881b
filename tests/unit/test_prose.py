"""Sentences of README and docs that state an effect carry a claim's verdict, and it is the committed one.

The form is `[supported: claims/preserve_lowers_ab](...)`: a verdict, a study of docs/results, a claim.
"""

import json
import re
from pathlib import Path

import pytest

from support.project import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
VERDICTS = ("supported", "refuted", "equivalent", "undecided", "not testable here", "not tested here")
CITED = re.compile(rf"\[({'|'.join(VERDICTS)}): (\w+)/(\w+)\]\(")
EFFECT = re.compile(r"\b(lowers|raises|costs|helps|improves|harms|better|worse|teaches|gains|loses)\b")


def wrong_verdicts(text: str, results: Path) -> list[str]:
    """Verdicts cited in a text that are not those of the study's claims.json."""
    wrong = []
    for verdict, study, claim in CITED.findall(" ".join(text.split())):
        path = results / study / "claims.json"
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        found = {entry["claim_verdict"] for entry in entries if entry["id"] == claim}
        if found != {verdict}:
            wrong.append(f"{study}/{claim} is {', '.join(sorted(found)) or 'unknown'}, not {verdict}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_cited_verdicts_are_the_committed_ones(page: Path):
    assert wrong_verdicts(page.read_text(encoding="utf-8"), ROOT / "docs/results") == []


def test_a_wrong_verdict_is_noticed(tmp_path: Path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/claims.json").write_text(json.dumps([{"id": "c", "claim_verdict": "undecided"}]))
    assert wrong_verdicts("It helps ([undecided: s/c](x)).", tmp_path) == []
    assert wrong_verdicts("It helps ([supported:\ns/c](x)).", tmp_path) == ["s/c is undecided, not supported"]
    assert wrong_verdicts("[equivalent: s/d](x) [refuted: t/c](x)", tmp_path) == [
        "s/d is unknown, not equivalent",
        "t/c is unknown, not refuted",
    ]


def test_every_effect_that_the_readme_states_is_a_claim():
    results = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2].partition("\n## ")[0]
    prose = re.sub(r"<!-- (\S+) -->.*?<!-- /\1 -->", "", results, flags=re.DOTALL)
    stated = [part for part in re.split(r"\n\n|\n- ", prose) if EFFECT.search(part)]
    assert stated and [" ".join(part.split()) for part in stated if not CITED.search(" ".join(part.split()))] == []
