"""Which runs a claim is tested on: in a made-up study, and in those that come with the project."""

from pathlib import Path

from evenclip.balance.options import BalanceOptions
from evenclip.label.options import LabelOptions
from evenclip.study.study import load_study
from evenclip.summarize.claims import Claim, read_claims
from evenclip.summarize.roles import RunFacts, find_pair, find_run
from evenclip.train.options import TrainOptions
from support.claims_example import M4, NONE, RUNS, claim, facts
from support.project import ROOT

STAGE_OPTIONS = {"balance": BalanceOptions, "train": TrainOptions, "label": LabelOptions}


def pair(**changes) -> tuple[str, str] | str:
    chosen_pair = find_pair(claim(**changes), RUNS)
    return chosen_pair if isinstance(chosen_pair, str) else (chosen_pair[0].name, chosen_pair[1].name)


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


KNOWN = facts("known", knowledge={"as_captions": False, "e2e": 1.0})


def test_a_block_in_both_runs_must_agree_in_unnamed_options():
    roles = {"run": {"train.knowledge": True, "train.knowledge.as_captions": False},
             "reference": {"train.knowledge": True, "train.knowledge.as_captions": True}}  # fmt: skip
    other = facts("other", knowledge={"as_captions": True, "e2e": 0.0})
    control = facts("control", knowledge={"as_captions": True, "e2e": 1.0})
    assert find_pair(claim(**roles), [KNOWN, other]) == "known and other differ also in train.knowledge.e2e"
    assert find_pair(claim(**roles), [KNOWN, other, control]) == (KNOWN, control)


def test_a_block_in_one_run_alone_may_differ_as_a_whole():
    own_block = claim(run={"train.knowledge.as_captions": False, "train.knowledge": True}, reference={"train.lr": 1e-3})
    assert find_pair(own_block, [RUNS[0], KNOWN]) == (KNOWN, RUNS[0])


def test_ties_go_to_the_fewest_differences_then_run_order():
    runs = [facts("base"), facts("a", simclip={"share": 0.2, "online": True}),
            facts("b", simclip={"share": 0.2, "online": False}), facts("c", simclip={"share": 0.5, "online": False}),
            facts("d", simclip={"share": 0.5, "online": False})]  # fmt: skip
    roles = {"run": {"train.simclip": True, "train.simclip.online": False},
             "reference": {"train.simclip.share": 0.2, "train.simclip.online": True}}  # fmt: skip
    assert find_pair(claim(**roles), runs) == (runs[2], runs[1])
    by_share = {"run": {"train.simclip.share": 0.5}, "reference": {"train.simclip.share": 0.2}}
    assert find_pair(claim(**by_share), runs) == (
        runs[3],
        runs[2],
    )  # c and d are equal; b differs from c in share alone


def test_a_first_stage_goes_by_the_name_of_its_strategy():
    two_stages = facts("two", stages={"first": "results/claims/balance/m4/weights.parquet", "share": 0.9})
    assert two_stages.has("train.stages.first", "m4")
    elsewhere = facts("two", stages={"first": "weights/mine.parquet", "share": 0.9})
    assert elsewhere.has("train.stages.first", "weights/mine.parquet")


def test_a_trained_model_goes_by_the_name_of_its_run():
    tuned = facts("tuned", init="results/claims/train/baseline/seed{seed}/model.safetensors")
    assert tuned.has("train.init", "baseline")
    assert facts("openai", init="openai").has("train.init", "openai")


def test_an_empty_list_is_off():
    assert facts("x", freeze=[]).has("train.freeze", False) and facts("x", freeze=["text"]).has("train.freeze", True)


def test_missing_runs_are_named():
    assert pair(run={"train.simclip.share": 0.9}) == "no run has train.simclip.share 0.9"
    assert find_pair(claim(run={"train.simclip": True}), RUNS[:2]) == "no run has train.simclip on"
    assert find_pair(claim(run=NONE), RUNS[:1]) == "run and reference are the same run"
    assert find_run({"balance.proxies": True}, RUNS).name == "even_wide"


def test_the_claims_name_options_that_there_are():
    schemas = {stage: options.model_json_schema() for stage, options in STAGE_OPTIONS.items()}
    for stated_claim in read_claims(ROOT / "config/claims.yaml"):
        for key in {**stated_claim.run, **(stated_claim.reference or {})}:
            stage, _, rest = key.partition(".")
            schema = schemas[stage]
            properties = schema["properties"]
            for part in rest.split("."):
                assert part in properties, f"claim {stated_claim.id}: {key}"
                blocks = [choice.get("$ref", "") for choice in properties[part].get("anyOf", [])]
                properties = {
                    name: field
                    for block in blocks if block
                    for name, field in schema["$defs"][block.rpartition("/")[2]].get("properties", {}).items()
                }  # fmt: skip


PAIRS = {
    "clip_has_rb": "baseline",
    "clip_has_ab": "baseline",
    "m4_lowers_rb": ("m4", "baseline"),
    "m4_lowers_ab": ("m4", "baseline"),
    "rb_follows_last_data": ("m4_then_none", "none_then_m4"),
    "ab_follows_most_data": ("m4_then_none", "none_then_m4"),
    "classification_gains": ("m4", "baseline"),
    "retrieval_loses": ("m4", "baseline"),
    "recognition_unharmed": ("m4", "baseline"),
    "text_to_image_loses": ("m4", "baseline"),
    "m4_over_less_data": ("m4", "random_subsample"),
    "m4_over_thin": ("m4", "thin"),
    "m4_costs_labels": ("m4", "baseline"),
    "m4_lowers_ab_per_skill": ("m4", "baseline"),
    "preserve_lowers_ab_per_skill": ("m4_preserve", "baseline"),
    "fcl_lowers_ab_per_skill": ("fcl", "continued"),
    "preserve_lowers_ab": ("m4_preserve", "baseline"),
    "preserve_keeps_labels": ("m4_preserve", "baseline"),
    "preserve_over_m4_ab": ("m4_preserve", "m4"),
    "preserve_over_m4_labels": ("m4_preserve", "m4"),
    "preserve_over_thin": ("m4_preserve", "thin"),
    "preserve_over_m4_retrieval": ("m4_preserve", "m4"),
    "simclip_over_random": ("simclip", "continued"),
    "simclip_text_to_image": ("simclip", "continued"),
    "efficientcl_over_none": ("efficientcl", "continued"),
    "ahnm_over_clip": ("ahnm", "continued"),
    "ahnm_fair_shares": ("ahnm", "ahnm_unfair"),
    "fcl_lowers_ab": ("fcl", "continued"),
    "knowledge_color": ("knowledge", "continued"),
    "knowledge_position": ("knowledge", "continued"),
    "knowledge_negation": ("knowledge", "continued"),
    "knowledge_vqa": ("knowledge", "continued"),
    "knowledge_retrieval": ("knowledge", "continued"),
    "knowledge_text_to_image": ("knowledge", "continued"),
    "knowledge_over_captions": ("knowledge", "triples_as_captions"),
    "knowledge_kd": ("knowledge", "knowledge_without_kd"),
}


def facts_of_study(name: str) -> tuple[list[RunFacts], list[Claim]]:
    study = load_study(ROOT / f"config/studies/{name}.yaml")
    runs = [
        RunFacts.of(
            run.name,
            balance=study.config.balance[run.strategy].model_dump(mode="json"),
            train=run.options.model_dump(mode="json"),
            label=study.config.label.options.model_dump(mode="json"),
        )
        for run in study.runs.values()
    ]
    return runs, read_claims(Path(study.config.claims[0]))


def chosen(stated: Claim, runs: list[RunFacts]) -> tuple[str, str] | str:
    """Names of what a claim is tested on; or, why it is not."""
    chosen_runs = find_run(stated.run, runs) if stated.reference is None else find_pair(stated, runs)
    if isinstance(chosen_runs, str):
        return chosen_runs
    return chosen_runs.name if isinstance(chosen_runs, RunFacts) else (chosen_runs[0].name, chosen_runs[1].name)


def test_each_claim_is_tested_on_its_intended_pair_of_runs():
    runs, claims = facts_of_study("claims")
    pairs = {stated.id: chosen(stated, runs) for stated in claims if not stated.not_tested_because}
    assert {name: pair for name, pair in pairs.items() if isinstance(pair, tuple) or " " not in pair} == PAIRS


def test_the_study_of_filtered_data_has_the_pair_of_its_claim():
    runs, claims = facts_of_study("claims_filtered")
    assert chosen(next(stated for stated in claims if stated.id == "quality_filter_undoes_loss"), runs) == (
        "m4",
        "baseline",
    )


def test_knowledge_study_compares_the_method_with_its_control():
    runs, claims = facts_of_study("knowledge")
    by_id = {stated.id: chosen(stated, runs) for stated in claims}
    assert by_id["knowledge_over_captions"] == ("knowledge", "triples_as_captions")
    assert by_id["knowledge_color"] == ("knowledge", "clip")
