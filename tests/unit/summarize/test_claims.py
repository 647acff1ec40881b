"""Claims: their file, and their verdicts on made-up results with a known truth."""

import json

import numpy as np
import pytest
import yaml
from scipy import stats

from evenclip.digests import with_digest
from evenclip.errors import InputError
from evenclip.provenance import write_json
from evenclip.summarize import summarize_study
from evenclip.summarize.claims import Claim, read_claims
from evenclip.summarize.evidence import Scale
from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.multiplicity import benjamini_hochberg, holm
from evenclip.summarize.options import SummarizeOptions
from evenclip.summarize.verdicts import judge
from support.claims_example import M4, NONE, RUNS, claim
from support.example_study import SEEDS, STRATEGIES
from support.project import ROOT

N_SEEDS = 8
ONE_LOOK = (8,)


def table(seed: int, **means) -> dict[str, list[float]]:
    noise = np.random.default_rng(seed).normal(0, 0.01, size=(len(means), N_SEEDS))
    return {run: (mean + noise[i]).tolist() for i, (run, mean) in enumerate(means.items())}


def verdict_of(stated_claim: Claim, **tables) -> dict:
    by_metric = {name.replace("__", "/"): RunsBySeeds(values) for name, values in tables.items()}
    (entry,) = judge([stated_claim], RUNS, by_metric, looks=ONE_LOOK)
    return entry


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
    entry = verdict_of(claim(kind=kind, margin=margin), bias__set__rb=table(4, base=0.5, even=0.5 + d, sig=0.4))
    assert entry["verdict"] == expected
    assert entry["runs"] == {"run": "even", "reference": "base"} and entry["metric"] == "bias/set/rb"
    assert entry["ci_low"] < entry["estimate"] < entry["ci_high"]
    assert (entry["n"], entry["df"], entry["reason"]) == (8, 7, None)


def test_p_without_margin_is_that_of_the_two_sided_t_test():
    values = table(1, base=0.5, even=0.49)
    entry = verdict_of(claim(), bias__set__rb=values)
    assert entry["p"] == pytest.approx(stats.ttest_rel(values["even"], values["base"]).pvalue)


PARETO = {"kind": "pareto", "metric": "bias/*/ab_max", "against": "zeroshot/*/acc1", "reference": None}


@pytest.mark.parametrize(
    ("bias", "quality", "expected"),
    [(0.1, 0.7, "supported"), (0.4, 0.3, "refuted"), (0.1, 0.3, "supported"), (0.2, 0.5, "undecided")],
)
def test_pareto_is_refuted_by_one_run_that_is_better_in_both(bias, quality, expected):
    low = table(2, base=0.5, sig=0.2, even=bias)
    high = table(3, base=0.7, sig=0.5, even=quality)
    entry = verdict_of(claim(**PARETO), bias__set__ab_max=low, zeroshot__set__acc1=high)
    assert entry["verdict"] == expected
    assert entry["runs"]["run"] == "even"
    assert (entry["metric"], entry["against"]["metric"]) == ("bias/set/ab_max", "zeroshot/set/acc1")


def test_pareto_reports_the_deciding_rival_in_both_metrics():
    """Refuted: the run that is better in both, though another is better in one by far."""
    low = table(2, base=0.01, sig=0.2, even=0.4)
    high = table(3, base=0.1, sig=0.5, even=0.3)
    entry = verdict_of(claim(**PARETO), bias__set__ab_max=low, zeroshot__set__acc1=high)
    assert (entry["verdict"], entry["runs"]) == ("refuted", {"run": "even", "reference": "sig"})
    assert entry["estimate"] == pytest.approx(np.mean(low["even"]) - np.mean(low["sig"]))
    assert entry["against"]["estimate"] == pytest.approx(np.mean(high["even"]) - np.mean(high["sig"]))
    assert entry["against"]["ci_low"] < entry["against"]["estimate"] < entry["against"]["ci_high"]


def test_a_claim_may_leave_out_what_is_about_people():
    metrics = {f"zeroshot/{name}/acc1": RunsBySeeds(table(0, base=0.5, even=0.6)) for name in ("objects", "people")}
    stated_claim = claim(kind="higher", metric="zeroshot/*/acc1", people=False)
    (entry,) = judge([stated_claim], RUNS, metrics, ["zeroshot/people/acc1"])
    assert entry["metric"] == "zeroshot/objects/acc1"
    metrics["bias/s/ab_max"] = RunsBySeeds(table(1, base=0.5, even=0.2))
    (entry,) = judge([claim(**PARETO, people=True)], RUNS, metrics, ["zeroshot/people/acc1"])
    assert (entry["metric"], entry["against"]["metric"]) == ("bias/s/ab_max", "zeroshot/people/acc1")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([-0.1, -0.1], "supported"), ([-0.1, 0.0], "undecided"), ([-0.1, 0.0, 0.1], "refuted"), ([], "not tested here")],
)
def test_a_claim_speaks_of_all_its_metrics(differences, expected):
    metrics = {f"bias/s{i}/rb": RunsBySeeds(table(7, base=0.5, even=0.5 + d)) for i, d in enumerate(differences)}
    saturated = {"bias/full/rb": RunsBySeeds({"base": [1.0] * 8, "even": [1.0] * 8})}  # no test, and does not count
    entries = judge([claim()], RUNS, metrics | saturated, looks=ONE_LOOK)
    assert {entry["claim_verdict"] for entry in entries} == {expected}
    assert [entry["verdict"] for entry in entries][-1] == "not tested here"


def test_detectable_is_that_of_the_claims_level():
    metrics = {"bias/s/rb": RunsBySeeds(table(3, base=0.5, even=0.5))}
    claims = [claim(id=f"c{i}") for i in range(4)]
    for entry in judge(claims, RUNS, metrics, looks=ONE_LOOK, primary={c.id: "bias/s/rb" for c in claims}):
        alone = metrics[entry["metric"]].difference("even", "base")
        assert entry["level"] == 0.05 / 4
        assert entry["detectable"] == pytest.approx(alone.detectable(0.05 / 4)) and entry["detectable"] > alone.se


@pytest.mark.parametrize("kind", ["lower", "equivalent", "pareto"])
def test_verdicts_err_in_at_most_5_percent_under_the_null(kind):
    stated_claim = claim(**PARETO) if kind == "pareto" else claim(kind=kind, margin=0 if kind == "lower" else 0.001)
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(400):
        values = {name: {run: rng.normal(0.5, 0.01, 8).tolist() for run in ("base", "even", "sig")} for name in "ab"}
        metrics = {"bias/s/rb": RunsBySeeds(values["a"]), "bias/s/ab_max": RunsBySeeds(values["a"])}
        metrics["zeroshot/s/acc1"] = RunsBySeeds(values["b"])
        (entry,) = judge([stated_claim], RUNS, metrics, looks=ONE_LOOK)
        wrong += entry["verdict"] != "undecided"
    assert wrong / 400 <= 0.08


def claims_with_effects() -> tuple[list[Claim], dict[str, RunsBySeeds]]:
    """Claims of one test each, with effects from none to large."""
    claims = [claim(id=f"c{i}", metric=f"bias/s{i}/rb") for i in range(5)]
    return claims, {f"bias/s{i}/rb": RunsBySeeds(table(i, base=0.5, even=0.5 - 0.006 * i)) for i in range(5)}


@pytest.mark.parametrize(("primary", "adjust"), [(True, holm), (False, benjamini_hochberg)])
def test_each_family_has_its_own_adjustment(primary, adjust):
    claims, metrics = claims_with_effects()
    others = [other.model_copy(update={"id": f"{other.id}x"}) for other in claims]
    named = {entry.id: entry.metric for entry in (claims if primary else others)}
    entries = judge([*claims, *others], RUNS, metrics, looks=ONE_LOOK, primary=named)[:5]
    assert {entry["primary"] for entry in entries} == {primary}
    p = [entry["p"] for entry in entries]
    assert [entry["p_adjusted"] for entry in entries] == pytest.approx(adjust(p))
    assert {entry["verdict"] for entry in entries} == {"supported", "undecided"}
    for entry in entries:
        assert (entry["p_adjusted"] <= 0.05) == (entry["p"] <= entry["level"]) == (entry["verdict"] == "supported")
        assert (entry["adjusted_high"] < 0) == (entry["verdict"] == "supported")  # the interval agrees with the verdict


def test_a_claim_of_many_metrics_counts_once():
    """Supported by all tests (intersection-union), refuted by any (Bonferroni among its tests)."""
    metrics = {f"bias/s{i}/rb": RunsBySeeds(table(i, base=0.5, even=0.49)) for i in range(3)}
    entries = judge([claim()], RUNS, metrics, looks=ONE_LOOK, primary={"c": "bias/*/rb"})
    assert entries[0]["p_adjusted"] == pytest.approx(max(entry["p"] for entry in entries))
    risen = {name: RunsBySeeds(table(i, base=0.49, even=0.5)) for i, name in enumerate(metrics)}
    entries = judge([claim()], RUNS, risen, looks=ONE_LOOK, primary={"c": "bias/*/rb"})
    assert entries[0]["p_adjusted"] == pytest.approx(min(1, 3 * min(entry["p"] for entry in entries)))


def test_a_bias_is_there_if_it_is_above_the_floor():
    metrics = {"bias/s/rb": RunsBySeeds(table(0, base=0.5, even=0.2))}
    stated_claim = claim(kind="above_floor", run=NONE, reference=None)
    for floor, verdict in ((0.4, "supported"), (0.6, "refuted")):
        scales = {"bias/s/rb": Scale(floor, "the null study's")}
        (entry,) = judge([stated_claim], RUNS, metrics, scales=scales, looks=ONE_LOOK)
        assert entry["verdict"] == verdict and entry["runs"]["reference"] == "floor (the null study's)"
        assert entry["estimate"] == pytest.approx(np.mean(metrics["bias/s/rb"].values[0]) - floor)
    assert "no floor is known" in judge([stated_claim], RUNS, metrics, looks=ONE_LOOK)[0]["reason"]


def test_lower_bias_of_a_run_that_knows_less_is_marked():
    metrics = {"bias/s/ab_max": RunsBySeeds(table(0, base=0.5, even=0.2))}
    metrics["zeroshot/s/acc1"] = RunsBySeeds(table(1, base=0.6, even=0.3))
    for people, marked in (([*metrics], True), ([], False)):
        (entry,) = judge([claim(metric="bias/*/ab_max")], RUNS, metrics, people, looks=ONE_LOOK)
        assert entry["verdict"] == "supported" and bool(entry["mark"]) == marked


def test_what_no_study_can_test_says_why():
    stated_claim = claim(run={}, reference=None, not_tested_because="all runs train on the same pairs")
    (entry,) = judge([stated_claim], RUNS, {})
    assert (entry["verdict"], entry["reason"]) == ("not tested here", "all runs train on the same pairs")


def test_below_8_seeds_there_is_no_verdict():
    values = {"base": [0.5, 0.51, 0.5, 0.49, 0.5, 0.5, 0.51], "even": [0.1, 0.1, 0.11, 0.1, 0.09, 0.1, 0.1]}
    entry = verdict_of(claim(), bias__set__rb=values)
    assert (entry["verdict"], entry["claim_verdict"]) == ("undecided", "undecided")
    assert entry["reason"] == "7 seeds, at least 8 needed"
    assert entry["p"] < 1e-6 and entry["p_adjusted"] is None and entry["stopping"] is None


def test_a_difference_too_small_to_matter_is_equivalent():
    entry = verdict_of(claim(equivalence=0.05), bias__set__rb=table(4, base=0.5, even=0.5))
    assert (entry["verdict"], entry["claim_verdict"]) == ("equivalent", "equivalent")
    assert -0.05 < entry["adjusted_low"] < 0 < entry["adjusted_high"] < 0.05
    assert verdict_of(claim(equivalence=0.05), bias__set__rb=table(0, base=0.5, even=0.3))["verdict"] == "supported"


@pytest.mark.parametrize(
    ("kind", "scale", "reason"),
    [
        ("lower", Scale(0.48), "at chance"),
        ("lower", Scale(0.48, "the null study's"), "at the floor, the null study's"),
        ("higher", Scale(0.0, "chance", 0.52), "at its ceiling"),
        ("not_lower", Scale(0.48), "at chance"),
        ("not_lower", Scale(0.0, "chance", 0.52), None),
        ("not_higher", Scale(0.48), None),
        ("lower", Scale(0.2, "chance", 1.0), None),
    ],
)
def test_a_baseline_at_its_floor_or_ceiling_is_not_testable(kind, scale, reason):
    metrics = {"bias/s/rb": RunsBySeeds(table(0, base=0.5, even=0.1))}
    stated_claim = claim(kind=kind, margin=0.02 if kind.startswith("not") else 0)
    (entry,) = judge([stated_claim], RUNS, metrics, scales={"bias/s/rb": scale}, looks=ONE_LOOK)
    if reason is None:
        assert entry["verdict"] in ("supported", "refuted")
    else:
        assert entry["verdict"] == entry["claim_verdict"] == "not testable here"
        assert f"not testable here: {reason}" in entry["reason"]


def test_a_claim_decided_at_a_look_stays_decided():
    values = {run: row + [0.5] * 8 for run, row in table(0, base=0.5, even=0.2).items()}
    values["even"][8:] = [0.6, 0.4, 0.7, 0.5, 0.45, 0.55, 0.8, 0.9]
    metrics = {"bias/s/rb": RunsBySeeds(values)}
    (entry,) = judge([claim()], RUNS, metrics, looks=(8, 16, 24))
    assert entry["verdict"] == "supported"
    assert entry["stopping"] == {
        "looks": (8, 16), "state": "stopped for success", "decided_at": 8, "conditional_power": None,
    }  # fmt: skip
    (entry,) = judge([claim()], RUNS, metrics, looks=(16,))
    assert entry["verdict"] == "undecided"


def test_seeds_beyond_the_last_look_do_not_count():
    values = table(0, base=0.5, even=0.49)
    longer = {run: [*row, 5.0 * (run == "even")] for run, row in values.items()}
    short, long = (
        judge([claim()], RUNS, {"bias/s/rb": RunsBySeeds(table_)}, looks=ONE_LOOK)[0] for table_ in (values, longer)
    )
    assert short == long


def test_without_an_effect_more_seeds_are_futile():
    noise = np.random.default_rng(3).normal(0, 0.01, size=(2, 16))
    values = {"base": (0.5 + noise[0]).tolist(), "even": (0.5 + noise[1] - (noise[1] - noise[0]).mean()).tolist()}
    (entry,) = judge([claim()], RUNS, {"bias/s/rb": RunsBySeeds(values)})
    assert entry["stopping"]["state"].startswith("futile") and entry["stopping"]["conditional_power"] < 0.1
    values["even"] = [value - 0.006 for value in values["even"]]
    (entry,) = judge([claim(), claim(id="d")], RUNS, {"bias/s/rb": RunsBySeeds(values)})[:1]
    assert entry["verdict"] == "supported" or entry["stopping"]["state"] == "undecided: add seeds"


def test_what_cannot_be_tested_is_listed_with_the_reason():
    reasons = {
        "no run has train.simclip.share 0.9": claim(run={"train.simclip.share": 0.9}),
        "even and base: no vqa/*/accuracy": claim(metric="vqa/*/accuracy"),
        "even: no zeroshot/*/acc1": claim(**PARETO | {"metric": "bias/*/rb"}),
    }
    entries = judge(list(reasons.values()), RUNS, {"bias/set/rb": RunsBySeeds(table(0, base=0.5, even=0.1))})
    assert [entry["reason"] for entry in entries] == list(reasons)
    assert {entry["verdict"] for entry in entries} == {"not tested here"}
    assert {entry["p"] for entry in entries} == {None}
    one_seed = verdict_of(claim(), bias__set__rb={"base": [0.5], "even": [0.1]})
    assert one_seed["reason"] == "bias/set/rb of even and base: a single seed gives no test"
    equal = verdict_of(claim(), bias__set__rb={"base": [0.5, 0.5], "even": [0.1, 0.1]})
    assert "no variation over seeds" in equal["reason"]


def test_a_study_writes_its_claims_as_the_contract_says(example_root):
    entries = json.loads((example_root / "results" / "demo" / "claims.json").read_text())
    stated = read_claims(ROOT / "config/claims.yaml")
    assert list(dict.fromkeys(entry["id"] for entry in entries)) == [stated_claim.id for stated_claim in stated]
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
    assert all(fields <= set(entry) for entry in entries)
    tested = {entry["id"]: entry for entry in entries if entry["verdict"] != "not tested here"}
    assert tested["m4_lowers_ab"]["runs"] == {"run": "m4", "reference": "none"}
    assert "no run has balance.strategy m4 and balance.proxies on" in {entry["reason"] for entry in entries}


def test_without_a_file_of_claims_the_list_is_empty(study_folder):
    summarize_study(study_folder, list(STRATEGIES), list(SEEDS))
    assert json.loads((study_folder / "claims.json").read_text()) == []


def test_the_labels_of_a_claim_are_those_that_were_balanced(study_folder):
    """A labels table of an older study beside them, or of another data set, says nothing."""
    path = study_folder / "label" / "world.json"
    labels = json.loads(path.read_text())
    write_json({"options": labels["options"] | {"drop_lowest_similarity": 0.3}}, path.with_name("z_stale.json"))
    summarize_study(study_folder, list(STRATEGIES), list(SEEDS), claims=ROOT / "config/claims.yaml")
    entries = {entry["id"]: entry for entry in json.loads((study_folder / "claims.json").read_text())}
    reason = "no run has balance.strategy m4 and label.drop_lowest_similarity on"
    assert entries["quality_filter_undoes_loss"]["reason"] == reason


def test_a_strategy_solved_in_parts_has_the_studys_only_labels(study_folder):
    path = study_folder / "balance" / "m4" / "manifest.json"
    write_json(with_digest(json.loads(path.read_text()) | {"inputs": {}}), path)
    arguments = (study_folder, list(STRATEGIES), list(SEEDS))
    summarize_study(*arguments, claims=ROOT / "config/claims.yaml")
    (study_folder / "label" / "other.json").write_text("{}")
    with pytest.raises(InputError, match="2 files of labels, not one"):
        summarize_study(*arguments, claims=ROOT / "config/claims.yaml")


def test_kinds_of_two_words_have_claims_too():
    assert claim(metric="linear_probe/*/acc1").metric == "linear_probe/*/acc1"


def test_more_than_12_primary_claims_are_an_error():
    with pytest.raises(InputError, match="primary"):
        SummarizeOptions.parse({"primary": {f"c{i}": "bias/s/rb" for i in range(13)}}, "summarize")


def test_a_primary_claim_is_judged_on_its_own_metric():
    metrics = {f"bias/s{i}/rb": RunsBySeeds(table(7, base=0.5, even=0.5 - 0.1 * i)) for i in range(2)}
    assert {entry["claim_verdict"] for entry in judge([claim()], RUNS, metrics, looks=ONE_LOOK)} == {"undecided"}
    (entry,) = judge([claim()], RUNS, metrics, looks=ONE_LOOK, primary={"c": "bias/s1/rb"})
    assert (entry["metric"], entry["claim_verdict"]) == ("bias/s1/rb", "supported")


UNFIT = [({"d": "bias/s/rb"}, "no claim has the id 'd'"), ({"c": "bias/s/ab_max"}, "is about bias/")]


@pytest.mark.parametrize(("primary", "message"), UNFIT)
def test_primary_claims_that_do_not_fit_are_an_error(primary, message):
    with pytest.raises(InputError, match=message):
        judge([claim()], RUNS, {}, primary=primary)


FULL = {"id": "c", "name": "N", "source": "S", "statement": "T", "kind": "lower", "metric": "bias/*/rb",
        "run": M4, "reference": NONE}  # fmt: skip
FAULTS = {
    "did you mean 'margin'": FULL | {"margn": 0.1},
    "did you mean 'metric'": {key: value for key, value in FULL.items() if key != "metric"} | {"metrics": "bias/*/rb"},
    "'claims.0.kind'": FULL | {"kind": "smaller"},
    "'claims.0.metric'": FULL | {"metric": "rb"},
    "'strategy' is not an option": FULL | {"run": {"strategy": "m4"}},
    "give a `reference`": {key: value for key, value in FULL.items() if key != "reference"},
    "other kinds do not take it": FULL | {"against": "zeroshot/*/acc1"},
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


@pytest.mark.parametrize(("measure", "is_cut"), [("ab_max", True), ("ab_per_skill", False)])
def test_intervals_end_with_the_range_of_their_metric(measure, is_cut):
    values = {"base": [2.0, 2.6] * 4, "even": [0.5, 0.4] * 4}
    stated_claim = claim(metric=f"bias/*/{measure}")
    (entry,) = judge([stated_claim], RUNS, {f"bias/s/{measure}": RunsBySeeds(values)}, looks=ONE_LOOK)
    assert entry["estimate"] == pytest.approx(-1.85)
    assert (entry["ci_low"] == -1) == is_cut and (is_cut or entry["ci_low"] < -1.85)
