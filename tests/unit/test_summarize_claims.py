"""Claims: their file, the runs they find, and their verdicts on made-up results with a known truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from evenclip.balance.options import BalanceOptions
from evenclip.config import load_study
from evenclip.errors import InputError
from evenclip.label.options import LabelOptions
from evenclip.summarize import summarize_study
from evenclip.summarize.claims import Claim, read_claims
from evenclip.summarize.inference import Layout, holm
from evenclip.summarize.roles import RunFacts, find_pair, find_run
from evenclip.summarize.verdicts import judge
from evenclip.train.options import TrainOptions
from example_study import SEEDS, STRATEGIES

ROOT = Path(__file__).resolve().parents[2]
STAGE_OPTIONS = {"balance": BalanceOptions, "train": TrainOptions, "label": LabelOptions}
M4 = {"balance.strategy": "m4"}
NONE = {"balance.strategy": "none"}


def claim(**changes) -> Claim:
    values = {"id": "c", "name": "N", "source": "S", "statement": "T", "kind": "lower", "metric": "bias/*/rb",
              "run": M4, "reference": NONE}  # fmt: skip
    return Claim.parse(values | changes, "claims")


def facts(name: str, strategy: str = "none", proxies: bool = False, eps: float = 0.1, **train) -> RunFacts:
    balance = {"strategy": strategy, "proxies": proxies, "eps_rel": eps}
    return RunFacts.of(name, balance=balance, train={"lr": 1e-3, "objective": "clip", "simclip": None} | train)


RUNS = [
    facts("base"),
    facts("even", "m4", eps=0.01),
    facts("even_wide", "m4", proxies=True),
    facts("even_sig", "m4", objective="siglip"),
    facts("sig", objective="siglip"),
    facts("similar", simclip={"share": 0.5, "online": True}),
    facts("even_similar", "m4", simclip={"share": 0.5, "online": True}),
    facts("fast", lr=1.0),
]


def pair(**changes) -> tuple[str, str] | str:
    found = find_pair(claim(**changes), RUNS)
    return found if isinstance(found, str) else (found[0].name, found[1].name)


def test_runs_are_found_by_what_they_have_switched_on():
    assert pair() == ("even", "base")  # tolerances belong to the strategy; of four fitting pairs the plainest
    assert pair(run=M4 | {"balance.proxies": True}, reference=M4) == ("even_wide", "even")
    assert pair(run={"train.simclip": True}, reference={"train.simclip": False}) == ("similar", "base")
    assert pair(run=M4 | {"train.objective": "siglip"}, reference=NONE | {"train.objective": "siglip"}) == (
        "even_sig",
        "sig",
    )
    assert pair(run={"train.simclip.share": 0.5}, reference={"train.simclip": False}) == ("similar", "base")


def test_a_pair_must_agree_in_all_that_the_claim_does_not_name():
    assert find_pair(claim(), [RUNS[0], RUNS[3]]) == "even_sig and base differ also in train.objective"


def test_missing_runs_are_named():
    assert pair(run={"train.simclip.share": 0.9}) == "no run has train.simclip.share 0.9"
    assert find_pair(claim(run={"train.simclip": True}), RUNS[:2]) == "no run has train.simclip on"
    assert find_pair(claim(run=NONE), RUNS[:1]) == "run and reference are the same run"
    assert find_run({"balance.proxies": True}, RUNS).name == "even_wide"


def table(seed: int, **means) -> dict[str, list[float]]:
    noise = np.random.default_rng(seed).normal(0, 0.01, size=(len(means), 5))
    return {run: (mean + noise[i]).tolist() for i, (run, mean) in enumerate(means.items())}


def verdict_of(one: Claim, **tables) -> dict:
    (found,) = judge([one], RUNS, {name.replace("__", "/"): Layout(values) for name, values in tables.items()})
    return found


@pytest.mark.parametrize(
    ("kind", "margin", "d", "expected"),
    [
        ("lower", 0, -0.1, "supported"),
        ("lower", 0, 0.1, "refuted"),
        ("lower", 0, 0.0, "undecided"),
        ("lower", 0.2, -0.1, "refuted"),
        ("higher", 0, 0.1, "supported"),
        ("higher", 0.05, 0.0, "refuted"),
        ("not_lower", 0.05, 0.0, "supported"),
        ("not_lower", 0.05, -0.2, "refuted"),
        ("not_higher", 0.05, 0.0, "supported"),
        ("not_higher", 0.05, 0.2, "refuted"),
        ("equivalent", 0.05, 0.0, "supported"),
        ("equivalent", 0.05, 0.2, "refuted"),
        ("equivalent", 0.05, -0.2, "refuted"),
        ("equivalent", 0.005, 0.0, "undecided"),
    ],
)
def test_each_kind_finds_the_truth(kind, margin, d, expected):
    found = verdict_of(claim(kind=kind, margin=margin), bias__set__rb=table(0, base=0.5, even=0.5 + d, sig=0.4))
    assert found["verdict"] == expected
    assert found["runs"] == {"run": "even", "reference": "base"} and found["metric"] == "bias/set/rb"
    assert found["ci_low"] < found["estimate"] < found["ci_high"]
    assert (found["n"], found["df"], found["reason"]) == (5, 8, None)


def test_p_of_a_claim_without_margin_is_that_of_the_two_sided_t_test():
    values = table(1, base=0.5, even=0.49)
    found = verdict_of(claim(), bias__set__rb=values)
    assert found["p"] == pytest.approx(stats.ttest_rel(values["even"], values["base"]).pvalue)


PARETO = {"kind": "pareto", "metric": "bias/*/ab_max", "against": "zeroshot/*/acc1", "reference": None}


@pytest.mark.parametrize(
    ("bias", "quality", "expected"),
    [(0.1, 0.7, "supported"), (0.4, 0.3, "refuted"), (0.1, 0.3, "supported"), (0.2, 0.5, "undecided")],
)
def test_pareto_is_refuted_by_one_run_that_is_better_in_both(bias, quality, expected):
    low = table(2, base=0.5, sig=0.2, even=bias)
    high = table(3, base=0.7, sig=0.5, even=quality)
    found = verdict_of(claim(**PARETO), bias__set__ab_max=low, zeroshot__set__acc1=high)
    assert found["verdict"] == expected
    assert found["runs"]["run"] == "even" and found["metric"] in ("bias/set/ab_max", "zeroshot/set/acc1")


@pytest.mark.parametrize("kind", ["lower", "equivalent", "pareto"])
def test_verdicts_err_in_at_most_5_percent_where_nothing_is_different(kind):
    one = claim(**PARETO) if kind == "pareto" else claim(kind=kind, margin=0 if kind == "lower" else 0.001)
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(400):
        values = {name: {run: rng.normal(0.5, 0.01, 5).tolist() for run in ("base", "even", "sig")} for name in "ab"}
        metrics = {"bias/s/rb": Layout(values["a"]), "bias/s/ab_max": Layout(values["a"])}
        (found,) = judge([one], RUNS, metrics | {"zeroshot/s/acc1": Layout(values["b"])})
        wrong += found["verdict"] != "undecided"
    assert wrong / 400 <= 0.08


def test_holm_runs_over_all_tests_of_the_study_and_every_fitting_metric_is_one():
    metrics = {f"bias/s{i}/rb": Layout(table(i, base=0.5, even=0.49)) for i in range(3)}
    found = judge([claim(), claim(id="d", kind="higher")], RUNS, metrics)
    assert [entry["metric"] for entry in found] == ["bias/s0/rb", "bias/s1/rb", "bias/s2/rb"] * 2
    assert [entry["p_holm"] for entry in found] == pytest.approx(holm([entry["p"] for entry in found]))


def test_what_cannot_be_tested_is_listed_with_the_reason():
    reasons = {
        "no run has train.simclip.share 0.9": claim(run={"train.simclip.share": 0.9}),
        "even and base: no vqa/*/accuracy": claim(metric="vqa/*/accuracy"),
        "even: no zeroshot/*/acc1": claim(**PARETO | {"metric": "bias/*/rb"}),
    }
    found = judge(list(reasons.values()), RUNS, {"bias/set/rb": Layout(table(0, base=0.5, even=0.1))})
    assert [entry["reason"] for entry in found] == list(reasons)
    assert {entry["verdict"] for entry in found} == {"not tested here"}
    assert {entry["p"] for entry in found} == {None}
    one_seed = verdict_of(claim(), bias__set__rb={"base": [0.5], "even": [0.1]})
    assert one_seed["reason"] == "bias/set/rb of even and base: one seed gives no test"
    equal = verdict_of(claim(), bias__set__rb={"base": [0.5, 0.5], "even": [0.1, 0.1]})
    assert "no spread" in equal["reason"]


def test_a_study_writes_its_claims_as_the_contract_says(example_root):
    found = json.loads((example_root / "results" / "demo" / "claims.json").read_text())
    stated = read_claims(ROOT / "config/claims.yaml")
    assert list(dict.fromkeys(entry["id"] for entry in found)) == [one.id for one in stated]
    fields = {
        "id",
        "name",
        "source",
        "statement",
        "metric",
        "runs",
        "estimate",
        "ci_low",
        "ci_high",
        "n",
        "p",
        "verdict",
    }
    assert all(fields <= set(entry) for entry in found)
    tested = {entry["id"]: entry for entry in found if entry["verdict"] != "not tested here"}
    assert tested["m4_lowers_ab"]["runs"] == {"run": "m4", "reference": "none"}
    assert "no run has balance.strategy m4 and balance.proxies on" in {entry["reason"] for entry in found}


def test_without_a_file_of_claims_the_list_is_empty(study_folder):
    summarize_study(study_folder, list(STRATEGIES), list(SEEDS))
    assert json.loads((study_folder / "claims.json").read_text()) == []


FULL = {"id": "c", "name": "N", "source": "S", "statement": "T", "kind": "lower", "metric": "bias/*/rb",
        "run": M4, "reference": NONE}  # fmt: skip
FAULTS = {
    "did you mean 'margin'": FULL | {"margn": 0.1},
    "did you mean 'metric'": {key: value for key, value in FULL.items() if key != "metric"} | {"metrics": "bias/*/rb"},
    "'claims.0.kind'": FULL | {"kind": "smaller"},
    "'claims.0.metric'": FULL | {"metric": "rb"},
    "'strategy' is no option": FULL | {"run": {"strategy": "m4"}},
    "give a `reference`": {key: value for key, value in FULL.items() if key != "reference"},
    "`against` belongs to kind pareto": FULL | {"against": "zeroshot/*/acc1"},
    "equivalent needs a `margin`": FULL | {"kind": "equivalent"},
    "'claims.0.margin'": FULL | {"margin": -1},
    "'claims.0.id'": FULL | {"id": "M4 lowers"},
}


@pytest.mark.parametrize(("message", "values"), FAULTS.items(), ids=list(FAULTS))
def test_a_wrong_claim_is_one_clear_error(tmp_path, message, values):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [values]}))
    with pytest.raises(InputError) as error:
        read_claims(path)
    assert message in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a", "is a mapping"), ("claims: {", "not valid YAML"), ("", "is a mapping"),
     (yaml.safe_dump({"claims": [FULL, FULL]}), "two claims have the id 'c'")],
)  # fmt: skip
def test_a_wrong_file_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_claims(path)


def test_the_claims_name_options_that_there_are():
    for one in read_claims(ROOT / "config/claims.yaml"):
        for key in {**one.run, **(one.reference or {})}:
            stage, _, rest = key.partition(".")
            schema = STAGE_OPTIONS[stage].model_json_schema()
            properties = schema["properties"]
            for part in rest.split("."):
                assert part in properties, f"claim {one.id}: {key}"
                blocks = [choice.get("$ref", "") for choice in properties[part].get("anyOf", [])]
                properties = {
                    name: field
                    for block in blocks if block
                    for name, field in schema["$defs"][block.rpartition("/")[2]].get("properties", {}).items()
                }  # fmt: skip


@pytest.mark.parametrize("name", ["claims", "claims_filtered"])
def test_the_claims_studies_have_the_runs_of_every_claim(name):
    study = load_study(ROOT / f"config/studies/{name}.yaml")
    runs = [
        RunFacts.of(
            run.name,
            balance=study.config.balance[run.strategy].model_dump(mode="json"),
            train=study.train_options(run.name).model_dump(mode="json"),
            label=study.config.label.options.model_dump(mode="json"),
        )
        for run in study.runs.values()
    ]
    found = {
        one.id: find_run(one.run, runs) if one.kind == "pareto" else find_pair(one, runs)
        for one in read_claims(Path(study.claims[0]))
    }
    lacking = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    if name == "claims":
        assert set(lacking) == {"quality_filter_undoes_loss"}
    else:
        assert "quality_filter_undoes_loss" not in lacking
