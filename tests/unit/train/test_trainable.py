"""What cannot be trained as asked is refused: parts of a batch with batch normalisation, and nothing at all."""

from pathlib import Path

import pytest

from evenclip.errors import InputError
from evenclip.train.distributed import Processes
from evenclip.train.engine import Engine
from support.tiny_methods import make_methods_engine, write_methods_folder
from support.tiny_training import write_model

BATCH_NORM = {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}


def make_resnet_engine(folder: Path, processes: Processes | None = None, **changes) -> Engine:
    path = write_model(folder / "resnet.json", **BATCH_NORM)
    return make_methods_engine(folder, processes, inputs=(), model=str(path), **changes)


def test_batch_normalisation_is_refused_with_split_batches(tmp_path: Path):
    folder = write_methods_folder(tmp_path)
    make_resnet_engine(folder)  # whole batches
    make_resnet_engine(folder, micro_batch_size=16)
    make_resnet_engine(folder, micro_batch_size=4, freeze=["image"])
    with pytest.raises(InputError, match="batch normalisation"):
        make_resnet_engine(folder, micro_batch_size=4)
    with pytest.raises(InputError, match="batch normalisation"):
        make_resnet_engine(folder, Processes(0, 2))


@pytest.mark.parametrize("parts", [["image", "text"], ["text", "image"]])
def test_a_training_of_the_temperature_alone_is_refused(tmp_path: Path, parts: list[str]):
    folder = write_methods_folder(tmp_path)
    with pytest.raises(InputError, match="nothing is left to train"):
        make_methods_engine(folder, inputs=(), freeze=parts)
    make_methods_engine(folder, inputs=(), freeze=["image", "text_trunk"])
