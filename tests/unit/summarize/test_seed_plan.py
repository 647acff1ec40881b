"""How many seeds a claim needs, from pilot seeds: against statsmodels, and on a made-up study."""

import csv
import math

import pytest

from evenclip.errors import InputError
from evenclip.provenance import write_json
from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.seed_plan import as_table, plan_seeds, seconds_per_seed, seeds_needed
from evenclip.summarize.verdicts import judge
from support.claims_example import RUNS, claim


@pytest.mark.parametrize(("effect", "level"), [(0.9, 0.05), (0.5, 0.05), (0.7, 0.05 / 12)])
def test_seeds_needed_agree_with_statsmodels(effect, level):
    exact = (
        pytest.importorskip("statsmodels.stats.power")
        .TTestPower()
        .solve_power(effect_size=effect, alpha=level, power=0.8)
    )
    assert seeds_needed(effect * 0.01, 0.01, level) == max(8, math.ceil(exact))


def test_unreachable_verdicts_have_no_number_of_seeds():
    assert seeds_needed(0.1, math.nan, 0.05) is None
    assert seeds_needed(1e-6, 0.1, 0.05) is None
    assert seeds_needed(10.0, 0.1, 0.05) == 8


@pytest.fixture
def pilot(tmp_path):
    values = {"base": [0.5, 0.52, 0.49], "even": [0.45, 0.46, 0.47]}
    with open(tmp_path / "seeds.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "seed", "metric", "group", "value", "chance", "n"])
        writer.writerows([run, seed, "bias/s/rb", "", value, "", 100]
                         for run, row in values.items() for seed, value in enumerate(row))  # fmt: skip
    claims = [claim(id="a"), claim(id="b", kind="not_lower", margin=0.02)]
    judged = judge(claims, RUNS, {"bias/s/rb": RunsBySeeds(values)}, primary={"a": "bias/s/rb"})
    write_json(judged, tmp_path / "claims.json")  # as summarize writes it: its keys are sorted
    for run, seconds in (("base", 3600), ("even", 7200)):
        for seed in range(3):
            path = tmp_path / "benchmark" / "train" / f"{run}_seed{seed}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\th:m:s\n{seconds}\t1\n")
    return tmp_path


def test_pilot_seeds_say_how_many_more_and_how_long(pilot):
    first, second = plan_seeds(pilot)
    assert (first.claim, first.primary, first.pilot_seeds, first.verdict) == ("a", True, 3, "supported")
    assert first.effect == pytest.approx(0.13 / 3) and first.seeds >= 8
    assert first.hours == pytest.approx((first.seeds - 3) * 3)
    assert second.verdict == "refuted" and second.effect == pytest.approx(0.13 / 3 - 0.02)
    assert seconds_per_seed(pilot, {"base": 3, "even": 3}) == pytest.approx({"base": 3600, "even": 7200})
    assert as_table([first]).splitlines()[1].startswith("a (primary)\tbias/s/rb\teven - base\t3\tsupported")


def test_a_job_of_all_seeds_counts_for_each_of_them(tmp_path):
    jobs = {
        "train/m4": 80,
        "train/m4_siglip": 160,
        "embed/m4": 8,
        "evaluate/m4": 8,
        "evaluate/m4_siglip": 8,
    }
    for name, seconds in jobs.items():
        path = tmp_path / "benchmark" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t1\n")
    assert seconds_per_seed(tmp_path, {"m4": 8, "m4_siglip": 8}) == pytest.approx({"m4": 12, "m4_siglip": 21})


def test_a_study_without_seeds_is_one_clear_error(pilot):
    (pilot / "seeds.csv").unlink()
    with pytest.raises(InputError, match="seeds.csv: no such file"):
        plan_seeds(pilot)
