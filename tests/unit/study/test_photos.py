"""Studies of projections on cached features: what they ask of their runs, and the commands they stand for."""

from pathlib import Path

import pytest
import yaml

from evenclip.errors import InputError
from evenclip.options import read_yaml
from evenclip.study.study import Study, load_study

PHOTOS = Path("config/studies/photos.yaml")


@pytest.fixture
def values(tmp_path: Path) -> dict:
    return dict(read_yaml(PHOTOS))


def with_train(values: dict, **options: object) -> Study:
    return Study.from_mapping(values | {"train": values["train"] | options}, "photos")


def test_the_photo_study_has_20_seeds_of_9_runs_with_one_start():
    study = load_study(PHOTOS)
    assert len(study.runs) >= 9 and len(study.config.seeds) == 20
    assert {run.options.trunks() for run in study.runs.values()} == {"models/lite0_minilm"}
    files = study.runs["baseline"].files(0)
    assert files == ["models/lite0_minilm/model.safetensors", "models/lite0_minilm/open_clip_config.json"]


def test_fcl_learns_from_other_prompts_than_it_is_measured_with():
    study = load_study(PHOTOS)
    measured = {text for path in study.config.evaluate.prompt_files("utkface") for text in texts_of(path)}
    assert not measured & texts_of(study.runs["fcl"].options.fcl.prompts)


def texts_of(path: str) -> set[str]:
    prompts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {
        template.replace("{}", name)
        for template in prompts["templates"]
        for names in prompts["classes"].values()
        for name in names
    }


def test_features_are_of_the_training_data_and_all_sets(values: dict):
    config = load_study(PHOTOS).config
    assert config.featured_data[0] == "flickr8k/train" and len(config.featured_data) == 7
    arguments = config.feature_arguments("idenprof/all")
    assert arguments[:2] == ["--model", "models/lite0_minilm"]
    assert "config/prompts/idenprof.yaml" in arguments
    assert config.seeds_arguments("3") == ["--seed", "3"] and len(config.seeds_arguments(None)) == 40
    plain = Study.from_mapping({key: block for key, block in values.items() if key != "features"}, "photos").config
    assert plain.featured_data == [] == plain.embed_features()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["image_trunk"]}, "frozen trunks"),
        ({"crop_scale_min": 0.5}, "crop_scale_min"),
        ({"init": "random"}, "the same pretrained model"),
    ],
)
def test_a_run_that_cannot_use_cached_features_is_refused(values: dict, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        with_train(values, **options)


def test_a_run_that_starts_from_another_model_is_refused(values: dict, tmp_path: Path):
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("run\tstrategy\ttrain.init\na\tnone\t\nb\tnone\tresults/other/run\n")
    with pytest.raises(InputError, match="not of results/other/run"):
        Study.from_mapping(values | {"ablations": str(sheet)}, "photos")


def test_sets_made_of_captions_depend_on_the_captions(values: dict):
    config = load_study(PHOTOS).config
    labelled, swaps = config.data["dev_labelled"], config.data["dev_swaps"]
    assert labelled.made_from("dev") == ["data/flickr8k/dev/manifest.json", "config/lexicons/flickr8k.yaml"]
    assert swaps.made_from("dev") == ["data/flickr8k/dev/manifest.json"] and swaps.raw_files() == []
    assert labelled.arguments("dev")[:3] == ["annotate", "--data", "data/flickr8k/dev"]
    assert '--option preserve="labels"' in " ".join(labelled.arguments("dev"))


@pytest.mark.parametrize(
    ("of", "splits", "message"),
    [
        ("flickr9k", ["dev"], "unknown data 'flickr9k/dev'"),
        ("flickr8k", ["test"], "unknown data 'flickr8k/test'"),
        ("dev_labelled", ["dev"], "itself made from another data set"),
    ],
)
def test_a_set_that_cannot_be_made_is_refused(values: dict, of: str, splits: list[str], message: str):
    data = values["data"] | {"dev_swaps": {"source": "swaps", "of": of, "splits": splits}}
    sets = {name: block for name, block in values["evaluate"]["sets"].items() if name != "dev_swaps"}
    with pytest.raises(InputError, match=message):
        Study.from_mapping(values | {"data": data, "evaluate": values["evaluate"] | {"sets": sets}}, "photos")
