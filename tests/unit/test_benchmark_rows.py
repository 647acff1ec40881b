"""What the benchmarks write: ratios, quartiles and verdicts of a row, the fit of growth, and what is refused."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks import measuring
from support.project import ROOT


def test_a_row_has_medians_quartiles_and_a_verdict():
    entry = measuring.row("case", "s", [1, 2, 4], [4, 4, 4], "peer", 2)
    assert (entry["ours"], entry["peer"], entry["ratio"]) == (2, 4, 2) and entry["met"] and entry["n_runs"] == 3
    assert (entry["ratio_low"], entry["ratio_high"]) == (1.5, 3)  # of the runs' ratios 4, 2 and 1
    assert not measuring.row("case", "s", [2], [3], "peer", 2)["met"]
    assert measuring.row("case", "pairs/s", [6], [3], "peer", 2, rate=True)["ratio"] == 2
    bounded = measuring.row("case", "s", [6], [3], "peer", 1.5, smaller=True)
    assert (bounded["ratio"], bounded["met"]) == (2, False)
    assert measuring.row("case", "MB", 5, target=6, smaller=True)["met"]


def test_a_case_replaces_its_own_rows_alone(tmp_path: Path):
    path = tmp_path / "table.csv"
    measuring.write_rows(path, [{"case": "scale-1: a", "x": 1}, {"case": "scale-10: a", "x": 2}])
    measuring.write_rows(path, [{"case": "scale-1: b", "x": 3}], "scale-1")
    with open(path, newline="") as file:
        assert [(row["case"], row["x"]) for row in csv.DictReader(file)] == [("scale-10: a", "2"), ("scale-1: b", "3")]
    before = path.read_text()
    with pytest.raises(ValueError):  # other columns: the table stays as it was
        measuring.write_rows(path, [{"case": "scale-1: b", "y": 3}], "scale-1")
    assert path.read_text() == before


def test_other_work_on_the_machine_is_refused(monkeypatch, capsys):
    busy = iter([0.0, 10.0])
    monkeypatch.setattr(measuring, "busy_s", lambda: next(busy))
    with pytest.raises(SystemExit) as ended:
        measuring.measured("case", lambda: [{"case": "x"}])
    assert ended.value.code == 2 and "other work used" in capsys.readouterr().err


@pytest.mark.parametrize(("start", "exponent"), [(0.5, 1.0), (2.0, 2.0), (0.1, 0.5)])
def test_growth_is_fitted_beside_the_start(start: float, exponent: float):
    spec = importlib.util.spec_from_file_location("benchmark_tables", ROOT / "docs/benchmark_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    size = np.array([1e3, 1e4, 1e5, 1e6])
    assert tables._exponent(size, start + 3 * (size / 1e6) ** exponent) == f"{exponent:.2f}"
    assert tables._exponent(size, np.array([1, 1, 1.1, 1.1])) == "-"
