"""Bias cards of a study's runs and of single evaluations: what stands on them, and that they say what is missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from evenclip.card import write_evaluation_card, write_study_cards
from evenclip.digests import with_digest
from evenclip.errors import InputError
from evenclip.evaluate.options import KINDS
from evenclip.evaluate.suites import read_suites
from evenclip.metrics import known_metrics, not_measured
from evenclip.provenance import write_json
from evenclip.report.headline import sentence
from evenclip.results import StudyResults
from evenclip.train.options import TrainOptions
from support.example_study import EFFECT, SETS, STRATEGIES, seal

KINDS_OF_FILE = ("html", "md", "json")


@pytest.fixture(scope="module")
def cards(example_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cards")
    write_study_cards(example_root / "results" / "demo", out)
    return out


def evaluations(root: Path, strategy: str = "m4", seed: int = 0) -> list[Path]:
    return [root / "results" / "demo" / "evaluate" / strategy / f"seed{seed}" / f"{name}.json" for name in SETS]


def read_card(folder: Path) -> dict:
    return json.loads((folder / "card.json").read_text())


def test_every_run_has_a_card_in_three_forms(cards: Path):
    files = {path.relative_to(cards).as_posix() for path in cards.rglob("card.*")}
    assert files == {f"{run}/card.{kind}" for run in STRATEGIES for kind in KINDS_OF_FILE}


def test_a_run_card_has_the_summary_over_seeds_and_the_first_run(cards: Path, example_root: Path):
    card = read_card(cards / "m4")
    row = next(row for row in card["measured"] if row["metric"] == "bias/people/ab_max")
    estimate = StudyResults(example_root / "results" / "demo").estimate("m4", "bias/people/ab_max")
    assert (row["value"], row["ci_low"], row["ci_high"]) == (estimate.mean, estimate.ci_low, estimate.ci_high)
    assert row["reference"] == pytest.approx(EFFECT["none"] + 0.01)
    assert (row["n"], row["people"], row["low"], row["high"]) == (800, True, 0, 1)
    assert row["meaning"] == "association bias: largest association of a label with a group"
    assert card["reference"] == "baseline" and read_card(cards / "none")["reference"] == ""
    assert "2 training seeds" in card["interval"] and "moderated" in card["interval"]
    assert card["facts"]["methods"] == "none" and card["facts"]["seeds"] == "0, 1"


def test_missing_metrics_and_small_groups_are_listed(cards: Path):
    card = read_card(cards / "m4")
    assert card["insufficient"] == ["recognition/people/acc1 of tamlet & co (n = 3)"]
    missing = {metric["kind"] for metric in card["missing"]}
    assert {"fairness", "skew", "linear_probe", "recognition", "prompt_sensitivity"} <= missing
    assert not {"zeroshot", "retrieval", "association", "compositional"} & missing
    for kind in ("html", "md"):
        text = (cards / "m4" / f"card.{kind}").read_text()
        assert "linear probe: test accuracy of a logistic regression" in text and "tamlet" in text


def test_a_card_says_what_balancing_left_of_the_data(cards: Path, example_root: Path):
    report = json.loads((example_root / "results/demo/balance/m4/report.json").read_text())
    worst = next(part for part in report["kept"] if not (part["group"] and part["label"]))
    card = read_card(cards / "m4")
    first = card["kept"][0]
    assert (first["kept"], first["rows"]) == (worst["kept"], worst["rows"]) and worst["kept"] < 1
    assert [part["kept"] for part in card["kept"]] == sorted(part["kept"] for part in card["kept"])
    assert card["warnings"] == report["warnings"]
    for kind in ("html", "md"):
        text = (cards / "m4" / f"card.{kind}").read_text()
        assert "What balancing left of the data" in text and first["name"] in text
        assert all(warning[:40] in text for warning in card["warnings"])
    assert read_card(cards / "none")["kept"] == []


def test_metrics_about_people_stand_apart(cards: Path):
    text = (cards / "m4" / "card.md").read_text()
    people, others = text.index("**About people**"), text.index("**Not about people**")
    assert people < text.index("bias/people/ab_max") < others < text.index("zeroshot/objects/acc1")


def test_the_page_is_well_formed_escaped_and_needs_nothing(cards: Path):
    text = (cards / "m4" / "card.html").read_text()
    assert "tamlet &amp; co" in text and "<script" not in text
    assert not re.findall(r"(?:src|href)=", text)

    class Balanced(HTMLParser):
        open_tags: list[str] = []

        def handle_starttag(self, tag, attrs):
            self.open_tags += [tag] if tag != "meta" else []

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    parser = Balanced()
    parser.feed(text)
    assert parser.open_tags == []


def test_a_card_of_single_evaluations(example_root: Path, tmp_path: Path):
    write_evaluation_card(evaluations(example_root), tmp_path / "card")
    card = read_card(tmp_path / "card")
    row = next(row for row in card["measured"] if row["metric"] == "zeroshot/objects/acc1")
    document = json.loads(evaluations(example_root)[SETS.index("objects")].read_text())
    expected = next(measured for measured in document["metrics"] if measured["metric"] == row["metric"])
    assert {key: row[key] for key in ("value", "ci_low", "ci_high", "random", "n")} == {
        key: expected[key] for key in ("value", "ci_low", "ci_high", "random", "n")
    }
    assert card["facts"]["model"] == "results/demo/train/m4" and "over the examples" in card["interval"]
    assert [entry["set"] for entry in card["data"]] == list(SETS)


def test_cards_of_all_suites_list_their_truth_columns(example_root: Path, tmp_path: Path):
    other = json.loads(evaluations(example_root)[0].read_text())
    for name, dataset in read_suites("config/suites.yaml").datasets.items():
        tasks = [task for suite in dataset.suites.values() for task in suite]
        options = {"name": name, "tasks": [task.model_dump(mode="json") for task in tasks], "resamples": 9}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(with_digest({"manifest": other["manifest"] | {"options": options}, "metrics": []})))
        write_evaluation_card([path], tmp_path / name)
        (data,) = read_card(tmp_path / name)["data"]
        columns = {column for task in tasks for column in task.root.columns} - {"sha256"}
        assert data["truth"] == ", ".join(sorted(columns))
    assert read_card(tmp_path / "utkface")["data"][0]["truth"] == "gender, race"
    assert "occupation" in read_card(tmp_path / "world_people")["data"][0]["truth"]  # the target of fairness


def test_answered_questions_stand_on_a_card_too(example_root: Path, tmp_path: Path):
    other = json.loads(evaluations(example_root)[0].read_text())["manifest"]
    manifest = other | {
        "stage": "vqa", "n": 55, "options": {"name": "asked", "model": "results/demo/train/m4/seed0", "resamples": 9},
        "inputs": {"dataset": {"path": "data/world/mixed", "sha256": "0" * 64}},
    }  # fmt: skip
    row = {"metric": "vqa/asked/accuracy", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 55, "group": "",
           "random": 0.3, "people": False}  # fmt: skip
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(with_digest({"manifest": manifest, "metrics": [row]})))
    write_evaluation_card([path], tmp_path / "card")
    (data,) = read_card(tmp_path / "card")["data"]
    assert data["data"] == "world/mixed" and data["examples"] == "55 questions"
    assert "55 questions, truth: answers of annotators" in (tmp_path / "card/card.md").read_text()


def test_fingerprint_ignores_dates_and_commits(study_folder: Path, tmp_path: Path):
    def fingerprint_after(path: str, change) -> str:
        file = study_folder / path
        file.write_text(change(file.read_text()))
        seal(study_folder)
        write_study_cards(study_folder, tmp_path / "cards")
        return read_card(tmp_path / "cards" / "m4")["fingerprint"]

    same = fingerprint_after("study.json", lambda text: text)
    moved = fingerprint_after(
        "train/m4/seed0/manifest.json", lambda text: re.sub(r'"ended": ".{10}', '"ended": "2031-01-01', text)
    )
    assert moved == same and "2031-01-01" in (tmp_path / "cards" / "m4" / "card.md").read_text()
    assert (
        fingerprint_after("summary.csv", lambda text: re.sub(r"(m4,m4,bias/people/rb,,)[\d.]+", r"\g<1>0.5", text))
        != same
    )


def test_every_definition_is_found_by_its_own_metrics():
    for kind, task in KINDS.items():
        for definition in task.metrics:
            family, measure = re.sub(r"\{[^}]*\}", "5", definition.name).split("/")
            expected = "few_shot" if family == "few_shot" else kind
            assert known_metrics().of(f"{family}/a_set/{measure}").kind == expected
    assert known_metrics().of("bias/a_set/ab_max_prompt_range").kind == "prompt_sensitivity"
    assert known_metrics().of("vqa/a_set/accuracy").kind == "vqa"
    assert known_metrics().of("link_prediction/world/text_to_image_hits_at_10").kind == "link_prediction"
    assert known_metrics().of("link_prediction/a_graph/mrr") is None
    beside = {"prompt_sensitivity", "few_shot", "vqa", "link_prediction"}
    assert {metric.kind for metric in not_measured([])} == {*KINDS} | beside
    assert "few_shot" in {metric.kind for metric in not_measured(["linear_probe/a_set/acc1"])}


def test_the_methods_of_a_training_stand_on_its_card_by_title(study_folder: Path, tmp_path: Path):
    for seed in (0, 1):
        path = study_folder / "train" / "m4" / f"seed{seed}" / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["options"] |= {"bias_probe": {"every": 1}, "fcl": {"prompts": "x.yaml"}, "ahnm": None}
        write_json(with_digest(manifest), path)
    seal(study_folder)
    write_study_cards(study_folder, tmp_path / "cards")
    assert read_card(tmp_path / "cards" / "m4")["facts"]["methods"] == TrainOptions.method_classes()["fcl"].title


def test_prompt_sensitivity_stands_in_the_row_of_its_metric(study_folder: Path, tmp_path: Path):
    path = evaluations(study_folder.parent.parent)[0]
    document = json.loads(path.read_text())
    row = next(row for row in document["metrics"] if row["metric"] == "bias/people/ab_max")
    ends = {"ci_low": None, "ci_high": None, "n": 3}
    document["metrics"] += [row | ends | {"metric": "bias/people/ab_max_prompt_mean", "value": 0.123},
                            row | ends | {"metric": "bias/people/ab_max_prompt_range", "value": 0.456}]  # fmt: skip
    write_json(with_digest(document), path)
    write_evaluation_card([path], tmp_path / "card")
    card = read_card(tmp_path / "card")
    measured = {metric_row["metric"]: metric_row for metric_row in card["measured"]}
    assert not any("_prompt_" in metric for metric in measured)
    assert (measured[row["metric"]]["prompt_mean"], measured[row["metric"]]["prompt_range"]) == (0.123, 0.456)
    assert "prompt_sensitivity" not in {missing_kind["kind"] for missing_kind in card["missing"]}
    for kind in ("html", "md"):
        text = (tmp_path / "card" / f"card.{kind}").read_text()
        assert "wordings: mean 0.123, range 0.456" in text


def embedded_by(paths: list[Path], *models: dict) -> None:
    """Let each file's manifest say what embedded it."""
    for path, model in zip(paths, models, strict=False):
        document = json.loads(path.read_text())
        document["manifest"] |= model
        write_json(with_digest(document), path)


def model(name: str = "m", weights: str = "1", precision: str = "fp32") -> dict:
    embedding = {"precision": precision, "device": "cpu"}
    return {"model": name, "model_identity": {"model": weights}, "embedding": embedding}


def test_one_model_with_two_names_has_one_card(study_folder: Path, tmp_path: Path):
    paths = evaluations(study_folder.parent.parent)
    embedded_by(paths, *(model(f"m{i}") for i in range(len(paths))))
    write_evaluation_card(paths, tmp_path / "card")
    facts = read_card(tmp_path / "card")["facts"]
    assert facts["model"] == "m0" and len(facts["weights"]) == 16 and facts["embedded in"] == "fp32, device cpu"


def test_a_card_always_has_a_title(study_folder: Path, tmp_path: Path):
    path = evaluations(study_folder.parent.parent)[0]
    document = json.loads(path.read_text())
    del document["manifest"]["model"]
    document["manifest"]["inputs"]["embeddings"] = {"path": "mine.npz", "sha256": "0" * 64}
    write_json(with_digest(document), path)
    write_evaluation_card([path], tmp_path / "card")
    assert read_card(tmp_path / "card")["name"] == "embeddings"


FAULTS = [
    ("with other weights", lambda paths: embedded_by(paths, model(), model(weights="2"))),
    ("bf16 and fp32", lambda paths: embedded_by(paths, model(), model(precision="bf16"))),
    ("input should be an object", lambda paths: paths[1].write_text("[]")),
    ("'manifest': field required", lambda paths: paths[1].write_text('{"metrics": []}')),
    ("not readable JSON", lambda paths: paths[1].write_text("{")),
    ("no such file", lambda paths: paths[1].unlink()),
    ("is in two of the files", lambda paths: paths[1].write_text(paths[0].read_text())),
]


@pytest.mark.parametrize(("message", "fault"), FAULTS, ids=[message for message, _ in FAULTS])
def test_faults_are_one_clear_error_and_write_nothing(study_folder: Path, tmp_path: Path, message, fault):
    paths = evaluations(study_folder.parent.parent)
    fault(paths)
    with pytest.raises(InputError, match=message):
        write_evaluation_card(paths, tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_compared_models_have_the_numbers_of_their_cards(example_root: Path, tmp_path: Path):
    paths = {strategy: evaluations(example_root, strategy) for strategy in STRATEGIES}
    write_evaluation_card([path for of_model in paths.values() for path in of_model], tmp_path / "all")
    compared = json.loads((tmp_path / "all" / "comparison.json").read_text())
    assert list(compared["models"]) == sorted(STRATEGIES)
    for strategy, of_model in paths.items():
        write_evaluation_card(of_model, tmp_path / strategy)
        single = read_card(tmp_path / strategy)
        assert compared["models"][strategy] == single["measured"] == read_card(tmp_path / "all" / strategy)["measured"]
    assert "Association bias on people is lowest for m4, " in compared["sentence"]
    wide = pd.read_csv(tmp_path / "all" / "wide.csv").set_index("metric")
    m4 = {row["metric"]: row["value"] for row in compared["models"]["m4"]}
    assert wide["results/demo/train/m4"]["bias/people/ab_max"] == m4["bias/people/ab_max"]
    page = (tmp_path / "all" / "comparison.html").read_text()
    for link in re.findall(r'href="(.*?)"', page):
        assert (tmp_path / "all" / link).is_file()
    for kind in ("html", "md"):
        text = (tmp_path / "all" / f"comparison.{kind}").read_text()
        assert f"{m4['bias/people/ab_max']:.3f}" in text and "image-to-text recall at 5 on mixed" in text


def test_a_model_without_a_metric_leaves_its_cell_empty(example_root: Path, tmp_path: Path):
    paths = [*evaluations(example_root, "none"), evaluations(example_root, "m4")[0]]
    write_evaluation_card(paths, tmp_path / "all")
    text = (tmp_path / "all" / "comparison.html").read_text()
    row = re.search(r"<tr><th[^>]*><span[^>]*>zero-shot accuracy on objects</span></th>(.*?)</tr>", text)[1]
    assert re.search(r'<td data-name="m4"></td>', row) and "Label accuracy was not measured" in text


def test_a_card_begins_with_its_result_in_words(cards: Path, example_root: Path, tmp_path: Path):
    study = StudyResults(example_root / "results" / "demo")
    m4, first = read_card(cards / "m4"), read_card(cards / "none")
    assert m4["sentence"] == sentence(study) and "undecided" in m4["sentence"]
    value = study.estimate("none", "bias/people/ab_max").mean
    assert first["sentence"].startswith(f"Association bias on people is {value:.3f} (95 % interval ")
    for kind in ("html", "md"):
        text = (cards / "m4" / f"card.{kind}").read_text()
        assert text.index("It is undecided whether balancing with m4") < text.index("What was measured")
    page = (cards / "m4" / "card.html").read_text()
    assert not re.search(r">[^<]*\b(bias|zeroshot|retrieval)/\w+/\w+[^<]*<", page)  # paths are tooltips
    write_evaluation_card(evaluations(example_root)[1:], tmp_path / "things")
    assert read_card(tmp_path / "things")["sentence"].startswith("No bias was measured")


def test_a_card_without_any_evaluation_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="no evaluation"):
        write_evaluation_card([], tmp_path / "card")


HOSTILE = ("a | b", "<b>bold", "[x](http://e)", "`tick` *star*", "&lt;", "two\nlines", "C# \\|")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_break_the_markdown_card(study_folder: Path, tmp_path: Path, name: str):
    path = evaluations(study_folder.parent.parent)[0]
    document = json.loads(path.read_text())
    document["metrics"][0]["metric"] = f"bias/{name}/rb"
    document["metrics"][-1]["group"] = f"{name} (insufficient)"
    document["manifest"]["model"] = name
    write_json(with_digest(document), path)
    write_evaluation_card([path], tmp_path / "card")
    tokens = MarkdownIt("commonmark").enable("table").parse((tmp_path / "card" / "card.md").read_text())
    inline = [token for token in tokens if token.type == "inline"]
    assert not any(token.type.startswith("html") for token in tokens)
    kinds = {child.type for token in inline for child in token.children}
    assert kinds <= {"text", "code_inline", "strong_open", "strong_close", "softbreak", "text_special"}
    texts = ["".join(child.content for child in token.children) for token in inline]
    one_line = name.replace("\n", " ")
    assert f"Bias card: {one_line}" in texts and f"bias/{one_line}/rb".replace("`", "'") in texts
    assert any(f"recognition/people/acc1 of {one_line} (n = 3)" in text for text in texts)
    columns = [sum(t.type in ("th_open", "td_open") for t in row) for row in rows_of(tokens)]
    assert set(columns) == {2, 7}


def rows_of(tokens: list) -> list[list]:
    """The tokens of each row of a table."""
    starts = [i for i, token in enumerate(tokens) if token.type == "tr_open"]
    ends = [i for i, token in enumerate(tokens) if token.type == "tr_close"]
    return [tokens[start:end] for start, end in zip(starts, ends, strict=True)]
