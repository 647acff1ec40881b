"""Damaged results: every reader says what is wrong, or shows what it would have shown."""

import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest

from evenclip.card import write_evaluation_card, write_study_cards
from evenclip.errors import InputError
from evenclip.graph import GraphOptions, GraphSource, build_graph
from evenclip.report import along_training, figures, knowledge, page, write_report
from evenclip.report.drawing import Picture
from evenclip.results import StudyResults
from evenclip.summarize import summarize_study
from evenclip.track.plan import plan_study
from support.example_study import SEEDS, STRATEGIES


@pytest.fixture(scope="module")
def root(example_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up study with a graph and a report; do not change it."""
    root = tmp_path_factory.mktemp("whole")
    shutil.copytree(example_root, root, dirs_exist_ok=True)
    data = root / "data/world/train"
    build_graph([GraphSource("captions", data)], root / "results/demo/graph", data, GraphOptions())
    with without_drawing():
        write_report(root / "results/demo", root / "results/demo/report.html")
    return root


@contextmanager
def without_drawing() -> Iterator[None]:
    """Of the figures, only those that read files of their own, and these not rendered: that takes most of the time."""

    def draw(study: StudyResults) -> dict[str, list[Picture]]:
        for name in study.strategies:
            study.balanced_labels(name), study.weights(name)
        pictures = [figures.training_curves(study), *along_training.bias_curves(study)]
        pictures += [knowledge.graph_sample(study)] if study.graph else []
        return defaultdict(list, training=pictures)

    with ExitStack() as stack:
        for module in (along_training, figures, knowledge):
            stack.enter_context(mock.patch.object(module, "finish", lambda _, name, alt: Picture(name, alt, b"")))
        stack.enter_context(mock.patch.object(page, "draw", draw))
        stack.enter_context(mock.patch.object(page.explorer, "plotly_library", lambda: ""))
        yield


def pages_of(results: Path, out: Path) -> list[str]:
    """All that tracker, cards and report make of a study."""
    shutil.rmtree(out, ignore_errors=True)
    planned = [run.fingerprint for run in plan_study(StudyResults(results))]
    write_study_cards(results, out / "card")
    with without_drawing():
        write_report(results, out / "report.html")
    files = [path for path in sorted(out.rglob("*")) if path.suffix in (".html", ".md", ".json")]
    return [*(path.read_text() for path in files if path.name != "manifest.json"), *planned]


def drop_part(rng: random.Random, content: bytes) -> bytes:
    """JSON without a random key or item."""
    document = json.loads(content)
    parent, key = rng.choice(list(parts(document)) or [([0], 0)])
    del parent[key]
    return json.dumps(document).encode()


def change_type(rng: random.Random, content: bytes) -> bytes:
    """JSON with a random value of another type."""
    document = json.loads(content)
    parent, key = rng.choice(list(parts(document)) or [([0], 0)])
    parent[key] = rng.choice([value for value in (None, "x", 7, -1.5, [], {}) if type(value) is not type(parent[key])])
    return json.dumps(document).encode()


def parts(document: object):
    """(container, key) of every value in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield document, key
        if isinstance(value, dict | list):
            yield from parts(value)


def drop_line(rng: random.Random, content: bytes) -> bytes:
    """Text without a random line."""
    lines = content.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def truncate(rng: random.Random, content: bytes) -> bytes:
    """The beginning only."""
    return content[: rng.randrange(len(content))]


def garble(rng: random.Random, content: bytes) -> bytes:
    """Some bytes are others."""
    start = rng.randrange(len(content))
    return content[:start] + rng.randbytes(8) + content[start + 8 :]


BY_SUFFIX: dict[str, list[Callable[[random.Random, bytes], bytes]]] = {
    ".json": [drop_part, drop_part, drop_part, change_type, change_type, change_type, truncate, garble],
    ".csv": [drop_line, drop_line, truncate, garble],
    ".parquet": [truncate, garble],
    ".html": [truncate],
    ".md": [truncate],
    ".png": [truncate],
}


def damages(folder: Path, seed: int, n: int):
    """(file, damage) at random, each kind of file about equally often; None = the file is removed."""
    rng = random.Random(seed)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix in BY_SUFFIX)
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(path.suffix + path.parts[0] + path.name, []).append(path)
    for _ in range(n):
        path = rng.choice(kinds[rng.choice(sorted(kinds))])
        yield rng, path, rng.choice([None, *BY_SUFFIX[path.suffix]])


def outcomes(folder: Path, seed: int, n: int, run: Callable[[], object]) -> list[tuple[Path, str, object]]:
    """What ``run`` says after each damage: its output, its `InputError`, or the fault that it fell over."""
    results = []
    for rng, path, damage in damages(folder, seed, n):
        content = (folder / path).read_bytes()
        if damage is None or not content:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(damage(rng, content))
        try:
            outcome = run()
        except InputError as error:
            outcome = error
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        results.append((path, damage.__name__ if damage else "remove", outcome))
        (folder / path).write_bytes(content)
    return results


N_OF_READERS = 90


def test_damaged_results_are_an_error_or_show_the_same(root: Path, tmp_path: Path):
    shutil.copytree(root / "results", tmp_path / "results")
    results = tmp_path / "results" / "demo"
    whole = pages_of(results, tmp_path / "out")
    n_errors = 0
    for path, damage, outcome in outcomes(results, 0, N_OF_READERS, lambda: pages_of(results, tmp_path / "out")):
        assert not isinstance(outcome, str), f"{damage} {path}: {outcome}"
        if isinstance(outcome, InputError):
            n_errors += 1
            assert path.name in str(outcome) or path.name == "study.json", f"{damage} {path}: {outcome}"
            assert len(str(outcome).splitlines()) == 2
        else:
            assert outcome == whole, f"{damage} {path}"
    assert n_errors > N_OF_READERS / 2


def test_summarize_says_what_is_wrong_with_its_inputs(example_root: Path, tmp_path: Path):
    shutil.copytree(example_root / "results", tmp_path / "results")
    results = tmp_path / "results" / "demo"
    for path, damage, outcome in outcomes(results, 1, 30, lambda: summarize_study(results, [*STRATEGIES], [*SEEDS])):
        assert not isinstance(outcome, str), f"{damage} {path}: {outcome}"


def test_a_card_says_what_is_wrong_with_an_evaluation(example_root: Path, tmp_path: Path):
    folder = tmp_path / "evaluate"
    shutil.copytree(example_root / "results/demo/evaluate/m4/seed0", folder)
    files = sorted(folder.iterdir())
    for path, damage, outcome in outcomes(folder, 2, 40, lambda: write_evaluation_card(files, tmp_path / "card")):
        assert not isinstance(outcome, str), f"{damage} {path}: {outcome}"


def test_missing_rows_are_counted_by_run(example_root: Path, tmp_path: Path):
    shutil.copytree(example_root / "results", tmp_path / "results")
    path = tmp_path / "results/demo/summary.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(InputError, match=r"summary.csv: has \d+ of the \d+ rows of run 'm4'"):
        StudyResults(path.parent).summary  # noqa: B018
