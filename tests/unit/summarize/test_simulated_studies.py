"""A small version of the simulation of whole studies."""

import csv
import importlib.util
import sys

import pytest

from support.project import ROOT


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("simulated_studies", ROOT / "benchmarks/statistics.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_few_studies_without_effects_have_a_false_verdict(simulation):
    rates = simulation.simulate(simulation.SCENARIOS[2], 25)
    assert rates[-1].any_false <= 0.15  # 0.05 is promised; of 25 studies, more err once in thirty
    assert [rate.seeds for rate in rates] == [8, 16, 24]


def test_large_effects_are_found_as_seeds_are_added(simulation):
    rates = simulation.simulate(simulation.SCENARIOS[6], 8)
    assert rates[0].found <= rates[1].found <= rates[2].found
    assert rates[-1].found > 0.9 and rates[-1].wrong_side == 0


def test_the_committed_table_keeps_the_promised_error_rate(simulation):
    with open(ROOT / "benchmarks/results/statistics.csv", encoding="utf-8", newline="") as file:
        rates = list(csv.DictReader(file))
    assert {rate["scenario"] for rate in rates} == {scenario.name for scenario in simulation.SCENARIOS}
    assert all(int(rate["studies"]) >= 2000 for rate in rates)
    assert max(float(rate["any_false"]) for rate in rates) <= 0.05 + 3 * 0.005  # three standard errors
