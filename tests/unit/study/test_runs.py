"""The ablation sheet: each row is a run with its own training options."""

import pytest

from evenclip.errors import InputError
from evenclip.options import Options
from evenclip.train.options import TrainOptions
from support.demo_study import demo_values, demo_with, options_of


def test_a_row_overrides_the_training_block(tmp_path):
    rows = "run\tstrategy\ttrain.lr\ttrain.objective\na\tnone\t\t\nb\tm4\t3e-4\tsiglip\n"
    study = demo_with(sheet=tmp_path / "sheet.tsv", rows=rows)
    base = study.config.train
    assert TrainOptions.from_arguments(options_of(study.runs["a"].options.to_flags())) == base
    changed = base.model_copy(update={"lr": 3e-4, "objective": "siglip"})
    assert TrainOptions.from_arguments(options_of(study.runs["b"].options.to_flags())) == changed


def test_a_column_may_name_one_key_of_a_nested_block(tmp_path, monkeypatch):
    class Inner(Options):
        share: float = 0.5
        size: int = 4

    class Outer(TrainOptions):
        inner: Inner | None = None

    monkeypatch.setattr("evenclip.study.runs.TrainOptions", Outer)
    rows = "run\tstrategy\ttrain.inner.share\ttrain.inner\na\tnone\t\t\nb\tnone\t0.1\t\nc\tnone\t\t{size: 2}\n"
    study = demo_with(sheet=tmp_path / "sheet.tsv", rows=rows)
    inner = [study.runs[name].options.inner for name in "abc"]
    assert inner == [None, Inner(share=0.1), Inner(size=2)]


def test_knowledge_needs_the_studys_graph(tmp_path):
    rows = "run\tstrategy\ttrain.knowledge\nplain\tnone\t\nknowing\tnone\t{kd: 0}\n"
    sheet = tmp_path / "sheet.tsv"
    study = demo_with({"graph": {"sources": {"captions": "data/world/train"}}}, sheet, rows)
    assert [run.uses_graph(study.config) for run in study.runs.values()] == [False, True]
    with pytest.raises(InputError, match="run knowing: the study has no knowledge graph"):
        demo_with({"graph": None}, sheet, rows)


def test_links_are_predicted_by_the_runs_with_an_encoder(tmp_path):
    header, plain = "run\tstrategy\ttrain.knowledge\n", "plain\tnone\t\n"
    rows = header + plain + "knowing\tnone\t{kd: 0}\ncaptioned\tnone\t{as_captions: 1}\n"
    sheet, graph = tmp_path / "sheet.tsv", {"graph": {"sources": {"captions": "data/world/train"}}}
    asked = {"links": {"triples": 50}}
    study = demo_with(graph | asked, sheet, rows)
    arguments = study.summarize_arguments()
    assert study.linking_runs() == ["knowing"] == [arguments[arguments.index("--linking") + 1]]
    assert study.config.links.to_flags() == ["--option", "triples=50"]
    assert demo_with(graph, sheet, rows).linking_runs() == []
    with pytest.raises(InputError, match="links: no run can predict links"):
        demo_with(graph | asked, sheet, header + plain)
    with pytest.raises(InputError, match="links: no graph"):
        demo_with(asked | {"graph": None}, sheet, header + plain)


def test_a_first_stage_is_another_strategys_weights():
    train = demo_values()["train"] | {"stages": {"first": "none", "share": 0.1}}
    run = demo_with({"train": train}).runs["m4_preserve"]
    assert run.stage_outputs() == ["results/demo/balance/none/weights.parquet"]
    assert run.files(0) == [run.options.model]


def test_each_seed_may_start_from_a_checkpoint_of_its_own():
    train = demo_values()["train"] | {"init": "results/other/train/a/seed{seed}/model.safetensors"}
    run = demo_with({"train": train}).runs["m4_preserve"]
    for seed in (0, 1):
        assert run.files(seed) == [run.options.model, f"results/other/train/a/seed{seed}/model.safetensors"]


def test_the_bias_probes_data_and_prompts_are_inputs():
    prompts = {"groups": "config/prompts/world_groups.yaml", "labels": "config/prompts/world_occupations.yaml"}
    probe = {"images": "data/world/unmarked", "people": "data/world/people", "column": "group"} | prompts
    run = demo_with({"train": demo_values()["train"] | {"bias_probe": probe}}).runs["m4_preserve"]
    assert run.stage_outputs() == ["data/world/unmarked/manifest.json", "data/world/people/manifest.json"]
    assert run.files(0) == [run.options.model, *prompts.values()]


def test_a_stray_quotation_mark_swallows_no_run(tmp_path):
    rows = 'run\tstrategy\na\tnone\nb\t"none\nc\tnone"\n'
    with pytest.raises(InputError, match="a quotation mark that is never closed swallows the rows below it"):
        demo_with(sheet=tmp_path / "sheet.tsv", rows=rows)
