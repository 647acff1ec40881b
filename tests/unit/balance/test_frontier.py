"""The frontier: every point is what balancing at its settings gives, and the chosen one is marked."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evenclip.balance import BalanceOptions, M4Balancer, balance
from evenclip.balance.frontier import FrontierGrid
from evenclip.cli import app
from evenclip.errors import InputError


@pytest.fixture
def labels(tmp_path):
    rng = np.random.default_rng(0)
    n = 1500
    draw = rng.random(n)
    woman, man = draw < 0.15, (draw >= 0.15) & (draw < 0.6)
    columns = {"key": [str(i) for i in range(n)], "sensitive.g.woman": woman, "sensitive.g.man": man}
    for name, by_woman in (("nurse", 0.4), ("cook", 0.2)):
        columns[f"target.{name}"] = rng.random(n) < np.where(woman, by_woman, 0.1)
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    return tmp_path / "labels.parquet"


def test_points_are_what_balancing_at_their_settings_gives(labels, tmp_path):
    grid = FrontierGrid(preserve_tolerance=[None, 0.2], cap=[1, 3, 8], eps_rel=[0.1], retention=[1.0, 0.7])
    balance(labels, tmp_path / "out", BalanceOptions(preserve="labels"), grid=grid)
    chosen, *points = json.loads((tmp_path / "out/frontier.json").read_text())
    assert len(points) == 12 and chosen["chosen"] and not any(point["chosen"] for point in points)
    for point in points:
        options = {"cap": point["cap"], "eps_rel": 0.1, "retention": point["retention"]}
        if point["preserve_tolerance"] is not None:
            options |= {"preserve": "labels", "preserve_tolerance": point["preserve_tolerance"]}
        report = M4Balancer(**options).fit(labels).report_
        worst = next(part for part in report["kept"] if part["group"] is None)
        expected = {"rb": report["rb_after"], "ab": report["ab_after"], "kept": worst["kept"]}
        expected["ess"] = report["ess"] / report["n"]
        assert {name: point[name] for name in expected} == pytest.approx(expected, abs=2e-5)
    with (tmp_path / "out/frontier.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 13
    assert (tmp_path / "out/frontier.png").read_bytes().startswith(b"\x89PNG")


def test_settings_that_cannot_hold_have_no_results(tmp_path):
    row = np.arange(600)
    woman, only_man = row < 300, row == 599
    # the one man with either label cannot stand for half of both, as one label is three times as frequent
    columns = {"sensitive.g.woman": woman, "sensitive.g.man": ~woman}
    columns |= {"target.a": (row < 90) | only_man, "target.b": (row >= 60) & (row < 90) | only_man}
    pq.write_table(pa.table(columns | {"key": row.astype(str)}), tmp_path / "labels.parquet")
    grid = FrontierGrid(preserve_tolerance=[0.0], cap=[100], eps_rel=[0.0], retention=[1.0])
    balance(tmp_path / "labels.parquet", tmp_path / "out", BalanceOptions(), grid=grid)
    _, point = json.loads((tmp_path / "out/frontier.json").read_text())
    assert point["ab"] is None and point["retention"] is None
    with pytest.raises(InputError, match="no retention satisfies the constraints") as error:
        M4Balancer(preserve="labels", preserve_tolerance=0.0, eps_rel=0.0).fit(tmp_path / "labels.parquet")
    assert "(g.man, a)" in error.value.what and "without the label" in error.value.instead


def test_command_takes_a_grid_and_refuses_other_keys(labels, tmp_path):
    run = CliRunner().invoke
    arguments = ["balance", str(labels), "--out", str(tmp_path / "out"), "--frontier", "--grid"]
    grid = ["cap=[1, 5]", "--grid", "eps_rel=[0.1]", "--grid", "preserve_tolerance=[null, 0.2]"]
    assert run(app, [*arguments, *grid]).exit_code == 0
    assert len(json.loads((tmp_path / "out/frontier.json").read_text())) == 9
    assert isinstance(run(app, [*arguments, "caps=[1]"]).exception, InputError)
