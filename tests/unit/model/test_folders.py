"""Model folders: of a run, of the Hub, by open_clip's prefix; as a model, and as initial weights."""

from pathlib import Path

import pytest
import torch

from evenclip.errors import InputError
from evenclip.model.clip import Clip, create_clip, load_clip, save_clip
from evenclip.model.identity import model_files
from support.tiny_training import write_model


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    torch.manual_seed(0)
    clip = create_clip(str(write_model(tmp_path / "tiny.json")))
    (tmp_path / "run").mkdir()
    save_clip(clip, tmp_path / "run")
    return clip


def weights(clip: Clip) -> torch.Tensor:
    return clip.module.visual.proj


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "model.safetensors"])
@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_folders_of_the_hub_and_of_runs_load(clip: Clip, tmp_path: Path, name: str, prefix: str):
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "run" / name)
    model = f"{prefix}{tmp_path / 'run'}"
    assert torch.equal(weights(load_clip(model)), weights(clip))
    assert model_files(model)["model"].name == name


def test_a_folder_gives_the_configuration_the_weights_or_both(clip: Clip, tmp_path: Path):
    run = str(tmp_path / "run")
    assert torch.equal(weights(create_clip(run, run)), weights(clip))
    assert torch.equal(weights(create_clip(str(tmp_path / "tiny.json"), run)), weights(clip))
    assert torch.equal(weights(create_clip(run, f"{run}/model.safetensors")), weights(clip))
    torch.manual_seed(1)
    assert not torch.equal(weights(create_clip(run)), weights(clip))


def test_a_folder_without_weights_is_refused(clip: Clip, tmp_path: Path):
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights in it"):
        load_clip(str(tmp_path / "run"))


def test_weights_of_the_hub_go_with_their_own_model():
    with pytest.raises(InputError, match="another model"):
        create_clip("ViT-B-32", "hf-hub:org/name")


def test_a_name_with_siglip_brings_no_tokenizer_of_the_network(tmp_path: Path):
    with pytest.raises(InputError, match="hf_tokenizer_name"):
        create_clip(str(write_model(tmp_path / "my_siglip.json")))
