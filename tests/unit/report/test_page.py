import base64
import gzip
import io
import json
import math
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from evenclip.balance import audit
from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.report import words, write_report
from evenclip.report.along_training import bias_curves, negatives_tables
from evenclip.report.claims import SIGNS
from evenclip.report.drawing import run_style
from evenclip.report.headline import headline
from evenclip.report.knowledge import graph_sample
from evenclip.report.options import ReportOptions
from evenclip.report.samples import LEFT_OUT, is_drawn, without_samples
from evenclip.report.tables import difference_table, result_tables, strategy_table
from evenclip.results import StudyResults
from evenclip.tables import write_table
from support.example_study import EFFECT, SEEDS, STRATEGIES, seal


class Page(HTMLParser):
    """Collects what the tests ask about: images, links, tables' cells and text; checks that tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str):
        super().__init__()
        self.images: list[dict] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="session")
def written(example_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(example_root / "results" / "demo", out, ReportOptions(photos=True))
    return out


@pytest.fixture(scope="session")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn but not rendered, which takes most of a report's time."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def test_page_needs_nothing_from_outside(page: Page):
    inside = [link for link in page.links if link.startswith(("#", "data:image/"))]
    assert page.links and inside == page.links
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_page_begins_with_the_result_and_the_small_table(example_root: Path, written: Path, page: Page):
    study = StudyResults(example_root / "results" / "demo")
    text = written.read_text(encoding="utf-8")
    shown = headline(study)
    assert text.index(str(escape(shown.sentence))) < text.index('class="key stack"') < text.index("<figure>")
    means = json.loads((study.folder / "metrics.json").read_text())
    for run, (_, cells) in zip(study.runs, shown.rows, strict=True):
        values = [f"{means[run.name][column.name.path]:.3f}" for column in shown.columns]
        assert [cell.value for cell in cells] == values


def test_metrics_are_in_words_and_their_paths_tooltips(written: Path):
    text = re.sub(r"<(script|style).*?</\1>", "", written.read_text(encoding="utf-8"), flags=re.DOTALL)
    visible = re.sub(r"<code>.*?</code>|<[^>]*>", " ", text)
    families = "bias|zeroshot|retrieval|recognition|compositional"
    assert not re.findall(rf"\b(?:{families})/[\w*]+/[\w*]+", visible)
    assert 'title="bias/people/ab_max"' in text and 'title="zeroshot/objects/acc1"' in text


def test_a_number_of_the_data_is_shown_once(example_root: Path, page: Page):
    report = StudyResults(example_root / "results" / "demo").strategies["m4"]
    shown, solved = f"{report['realised_ab']:.3f}", f"{report['ab_after']:.3f}"
    assert shown in page.text and (solved == shown or solved not in page.text)


def test_pages_follow_dark_mode_phones_and_printers(written: Path):
    text = written.read_text(encoding="utf-8")
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print", "attr(data-name)"):
        assert rule in text
    svg = base64.b64decode(re.search(r"data:image/svg\+xml;base64,([^\"]+)", text)[1]).decode()
    assert "prefers-color-scheme:dark" in svg and "var(--ink)" in svg
    cells = re.findall(r"<td[^>]*>", re.sub(r"<ul class=\"samples.*?</ul>", "", text, flags=re.DOTALL))
    assert cells and all("data-name=" in cell for cell in cells)


def test_photos_of_imported_data_are_shown_only_if_asked(study_folder: Path, unrendered: None):
    write_report(study_folder, study_folder / "report.html")
    text = (study_folder / "report.html").read_text()
    assert "data:image/jpeg" not in text and "report: {photos: true}" in text


def test_pictures_of_the_world_are_no_photos(tmp_path: Path):
    manifest = {"inputs": {"data": {"path": str(tmp_path)}}}
    assert not is_drawn(manifest)
    for options, drawn in (({"world": {}}, True), ({"layout": "folder"}, False)):
        (tmp_path / "manifest.json").write_text(json.dumps({"stage": "data", "options": options}))
        assert is_drawn(manifest) == drawn


def test_every_image_can_be_decoded_and_has_a_text(page: Page, written: Path):
    for image in page.images:
        content = base64.b64decode(image["src"].partition(",")[2])
        if "svg" in image["src"][:20]:
            assert b"<svg" in content
        else:
            assert Image.open(io.BytesIO(content)).size == (64, 64)
        assert image["alt"].strip()
    n_pictures = sum("svg" in image["src"][:20] for image in page.images)
    assert n_pictures == len(list((written.parent / "figures").glob("*.svg"))) == 19


def test_a_figures_text_gives_its_numbers(example_root: Path, page: Page):
    text = " ".join(image["alt"] for image in page.images)
    for strategy in STRATEGIES:
        name = "baseline" if strategy == "none" else strategy
        assert f"{name} {EFFECT[strategy] + 0.01:.3f} [" in text  # seeds 0 and 1 differ by 0.02
    report = StudyResults(example_root / "results" / "demo").strategies["m4"]
    assert re.search(rf"m4 {report['rb_before']:.3f} \[[^;]*original, {report['realised_rb']:.3f} \[", text)


def test_captions_are_escaped_and_attributes_perceived(written: Path, page: Page):
    assert "<dasker>" not in written.read_text(encoding="utf-8")
    assert any("beside a tamlet <dasker>" in piece for piece in page.text)
    assert "perceived group: tamlet" in page.text


def test_result_tables_have_all_metrics_runs_and_gaps(example_root: Path):
    study = StudyResults(example_root / "results" / "demo")
    tables = result_tables(study)
    rows = [row for table in tables for row in table.rows]
    paths = {row[0].path for row in rows}
    assert paths == {m for m in study.summary["metric"] if not m.startswith(("data/", "train/realised_"))}
    assert not any("/" in row[0] for row in rows)
    cells = {row[0]: row[1:] for row in rows}
    row = study.summary[(study.summary["run"] == "m4") & (study.summary["metric"] == "zeroshot/objects/acc1")].iloc[0]
    assert row["interval"] == "moderated"
    cell = f"0.340 [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    assert cells["zero-shot accuracy on objects"][2:] == [cell, "1,000", "0.028"]
    assert cells["recognition of the attribute on people: tamlet & co"][:3] == ["insufficient (n = 3)"] * 3
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)


def test_strategy_table_shows_the_realised_bias(example_root: Path):
    table = strategy_table(StudyResults(example_root / "results" / "demo"))
    m4 = dict(zip(table.header, table.rows[-1], strict=True))
    report = StudyResults(example_root / "results" / "demo").strategies["m4"]
    assert m4["representation bias before"] == f"{report['rb_before']:.3f}"
    assert m4["representation bias as shown"] == f"{report['realised_rb']:.3f}"
    assert m4["within tolerance"] == "yes"


def test_p_values_are_those_of_claims_alone(example_root: Path, page: Page):
    table = difference_table(StudyResults(example_root / "results" / "demo"))
    assert table.header[1:] == ["random_subsample - baseline", "m4 - baseline", "seeds"]
    row = next(row for row in table.rows if row[0].path == "bias/people/ab_max")
    # by the jitter of the example this pair differs by the same in both seeds, others by -+0.003 from their means:
    # the prior stands alone, its variance is 2 * 0.003**2, with 2 degrees of freedom
    half = stats.t.ppf(0.975, 2) * math.sqrt(2 * 0.003**2 / 2)
    assert row[2] == (f"-0.340 [{-0.34 - half:.3f}, {-0.34 + half:.3f}]") and row[3] == "2"
    assert not any(", p " in cell for cells in table.rows for cell in cells)
    assert any("They are no tests" in piece for piece in page.text)


def test_forest_plots_show_every_run_against_the_first(example_root: Path, written: Path, page: Page):
    names = {path.name for path in (written.parent / "figures").glob("differences-*.svg")}
    assert {f"differences-difference_in_{name}.svg"
            for name in ("association_bias_on_people", "zero-shot_accuracy_on_objects")} <= names  # fmt: skip
    text = next(image["alt"] for image in page.images if "Association bias on people, difference" in image["alt"])
    assert "random_subsample -0.020 [" in text and "m4 -0.340 [" in text


def test_love_plots_show_each_label_before_and_as_shown(example_root: Path, page: Page):
    results = example_root / "results" / "demo"
    bias = audit(results / "label" / "world.parquet", results / "balance" / "m4" / "weights.parquet")
    text = next(image["alt"] for image in page.images if "before and after m4" in image["alt"])
    for entry in bias["associations"]:
        values = (abs(entry[stage]["smd"]) for stage in ("before", "realised"))
        assert f"{entry['label']} {' to '.join(f'{value:.2f}' for value in values)}" in text


def test_bias_curves_and_negatives_are_drawn_if_recorded(study_folder: Path):
    study = StudyResults(study_folder)
    assert bias_curves(study) == [] and negatives_tables(study) == []
    for seed in SEEDS:
        steps = {"step": [0, 10, 20], "rb": [0.5, 0.4 + 0.1 * seed, 0.1], "ab_max": [0.0, 0.2, 0.3]}
        write_table(pa.table(steps), study_folder / "train" / "m4" / f"seed{seed}" / "bias_history.parquet")
    n = 50
    mined = {"step": np.repeat([1, 5, 9, 12, 20], 10), "text": ["a <b>"] * n, "source": ["batch"] * n}
    mined |= {"negative_text": [f"n{i}" for i in range(n)], "similarity": np.linspace(0, 1, n)}
    mined |= {"weight": np.tile(np.arange(10.0), 5)}
    write_table(pa.table(mined), study_folder / "train" / "m4" / "seed0" / "negatives.parquet")
    pictures = {picture.name: picture.alt for picture in bias_curves(study)}
    assert pictures["representation bias along the training"].endswith("m4 from 0.500 to 0.100.")
    assert "0.300" in pictures["association bias along the training"]
    (table,) = negatives_tables(study)
    assert [row[0] for row in table.rows] == ["step 1"] * 4 + ["step 9"] * 4 + ["step 20"] * 4
    assert [row[2] for row in table.rows[:4]] == ["n9", "n8", "n7", "n6"]


def test_two_stage_runs_are_drawn_beside_one_stage_runs(study_folder: Path):
    path = study_folder / "study.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    m4 = next(run for run in document["runs"] if run["run"] == "m4")
    seeds, options = m4["seeds"], m4["options"]
    staged = {"train.stages": {"first": "results/s/balance/none/weights.parquet", "share": 0.1}}
    document["runs"] += [
        m4 | {"run": "changed", "options": options | staged},
        m4 | {"run": "siglip", "options": options | {"train.objective": "siglip"}},
    ]
    path.write_text(json.dumps(document), encoding="utf-8")
    seal(study_folder)
    for run in document["runs"]:
        for seed in seeds:
            table = pa.table({"step": [0, 10], "rb": [0.5, 0.1], "ab_max": [0.0, 0.2]})
            write_table(table, study_folder / "train" / run["run"] / f"seed{seed}" / "bias_history.parquet")
    pictures = {picture.name: picture.alt for picture in bias_curves(StudyResults(study_folder))}
    runs_of_picture = {
        name: [part.split()[0] for part in alt.partition(": ")[2].split("; ")] for name, alt in pictures.items()
    }
    names = ["baseline", *(run["run"] for run in document["runs"][1:])]
    staged, plain = (
        runs_of_picture[f"representation bias {where}"] for where in ("in two stages", "along the training")
    )
    assert staged == [name for name in names if name in ("baseline", "m4")] + ["changed"]
    assert plain == [name for name in names if name != "changed"]


def test_explorer_has_all_metrics_and_the_library_once(example_root: Path, written: Path):
    text = written.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)[1])
    assert [run["name"] for run in data["runs"]] == list(STRATEGIES)
    assert len({(run["color"], run["symbol"]) for run in data["runs"]}) == len(STRATEGIES)
    estimate = data["metrics"]["bias/people/ab_max"]["m4"]
    assert estimate["mean"] == pytest.approx(EFFECT["m4"] + 0.01) and np.mean(estimate["seeds"]) == pytest.approx(
        estimate["mean"]
    )
    assert data["x"] == "zeroshot/objects/acc1" and data["y"] == "bias/people/ab_max"
    assert not [name for name in data["metrics"] if name.startswith(("train/", "data/"))]
    packed = re.search(r'id="plotly-gzip">(.*?)</script>', text, re.DOTALL)[1]
    assert gzip.decompress(base64.b64decode(packed)).startswith(b"/**\n* plotly.js v") and text.count(packed) == 1
    assert len(text) < 4_000_000


def test_fifty_runs_differ_in_colour_or_marker():
    assert len({tuple(sorted(run_style(i).items())) for i in range(49)}) == 49


def test_claims_are_shown_with_verdicts_and_reasons(example_root: Path, page: Page):
    study = StudyResults(example_root / "results" / "demo")
    claims = study.claims
    text = " ".join(" ".join(page.text).split())
    for entry in claims:
        assert entry["name"] in text and entry["statement"] in text
        if entry["runs"] is None:
            assert Markup(words.in_words(study, entry["reason"])).striptags() in text
    assert "holds where d > -0.020." in text and "holds where d < 0." in text
    verdicts = Counter({entry["id"]: entry["claim_verdict"] for entry in claims}.values())
    assert verdicts["undecided"] and verdicts["not tested here"]
    assert ", ".join(f"{verdicts[name]} {name}" for name in SIGNS if verdicts[name]) in text
    for verdict, n in verdicts.items():
        assert sum(piece == f"{SIGNS[verdict]} {verdict}" for piece in page.text) == n


def test_equal_results_give_equal_bytes(example_root: Path, written: Path, tmp_path: Path):
    write_report(example_root / "results" / "demo", tmp_path / "report.html", ReportOptions(photos=True))
    assert (tmp_path / "report.html").read_bytes() == written.read_bytes()
    for figure in (written.parent / "figures").iterdir():
        assert (tmp_path / "figures" / figure.name).read_bytes() == figure.read_bytes()


def test_copies_leave_out_the_sample_images_and_nothing_else(written: Path):
    text = written.read_text(encoding="utf-8")
    copy = without_samples(text)
    assert "data:image/jpeg" in text and "data:image/jpeg" not in copy
    assert LEFT_OUT in copy
    assert copy.count("data:image/svg") == text.count("data:image/svg")
    assert without_samples(copy) == copy


def test_report_works_where_the_data_is_not(study_folder: Path, unrendered: None):
    manifest = study_folder / "label" / "world.json"
    text = manifest.read_text()
    manifest.write_text(re.sub(r'"path": ".*?"', '"path": "data/elsewhere"', text))
    seal(study_folder)
    write_report(study_folder, study_folder / "report.html", ReportOptions(photos=True))
    assert "its data folder is missing" in (study_folder / "report.html").read_text()


def test_a_study_with_a_graph_shows_it(study_folder: Path, page: Page, unrendered: None):
    assert "knowledge" not in page.ids
    data = study_folder.parents[1] / "data" / "world" / "train"
    build_graph([GraphSource("captions", data)], study_folder / "graph", data, GraphOptions())
    write_report(study_folder, study_folder / "report.html")
    with_graph = Page((study_folder / "report.html").read_text())
    assert "knowledge" in with_graph.ids
    figure = next(image for image in with_graph.images if image["alt"].startswith("A part of the knowledge graph"))
    entities = set(pd.read_parquet(study_folder / "graph" / "entities.parquet")["text"])
    parts = figure["alt"].removeprefix("A part of the knowledge graph: ").removesuffix(".").split("; ")
    assert parts and all(any(part.startswith(f"{name} ") for name in entities) for part in parts)
    statistics = json.loads((study_folder / "graph" / "graph.json").read_text())
    assert f"{statistics['n_triples']:,}" in with_graph.text
    assert (study_folder / "figures" / "knowledge-part_of_the_knowledge_graph.svg").is_file()


def test_the_graphs_figure_is_rendered(study_folder: Path):
    data = study_folder.parents[1] / "data" / "world" / "train"
    build_graph([GraphSource("captions", data)], study_folder / "graph", data, GraphOptions())
    assert len(graph_sample(StudyResults(study_folder)).svg) > 10_000


def test_report_works_without_tests_and_with_one_run(study_folder: Path, unrendered: None):
    header = (study_folder / "tests.csv").read_text().splitlines()[0]
    (study_folder / "tests.csv").write_text(header + "\n")
    summary = pd.read_csv(study_folder / "summary.csv", keep_default_na=False)
    summary[summary["run"] == "none"].to_csv(study_folder / "summary.csv", index=False)
    study = json.loads((study_folder / "study.json").read_text())
    study["runs"] = [run for run in study["runs"] if run["run"] == "none"]
    (study_folder / "study.json").write_text(json.dumps(study))
    seal(study_folder)
    write_report(study_folder, study_folder / "report.html")
    assert "No tests" in (study_folder / "report.html").read_text()


@pytest.mark.parametrize("name", ["study.json", "summary.csv", "tests.csv", "claims.json", "balance/m4/report.json",
                                  "train/m4/seed1/history.parquet"])  # fmt: skip
def test_a_missing_file_is_named_and_nothing_is_written(study_folder: Path, name: str):
    (study_folder / name).unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        write_report(study_folder, study_folder / "report.html")
    assert not (study_folder / "report.html").exists() and not (study_folder / "figures").exists()


def test_a_summary_without_a_column_is_an_error(study_folder: Path):
    summary = pd.read_csv(study_folder / "summary.csv", keep_default_na=False)
    summary.drop(columns="ci_low").to_csv(study_folder / "summary.csv", index=False)
    with pytest.raises(InputError, match="ci_low"):
        StudyResults(study_folder).summary  # noqa: B018


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (np.True_, "yes"),
        (6000, "6,000"),
        (0.0, "0.000"),
        (0.3, "0.300"),
        (1e-9, "1e-09"),
        (5432.1, "5,432"),
        (1.0, "1.000"),
    ],
)
def test_numbers_as_people_read_them(value, text: str):
    assert words.number(value) == text


def test_label_columns_in_words():
    assert words.label("sensitive.gender.woman") == "perceived gender: woman"
    assert words.label("target.ice.cream") == "ice.cream"
    assert words.label("proxy.hospital") == "hospital (proxy)"


def test_importing_the_report_loads_neither_torch_nor_mlflow():
    heavy = ("torch", "mlflow", "open_clip", "matplotlib.pyplot")
    code = f"import sys, evenclip.report.page; print([m for m in {heavy} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
