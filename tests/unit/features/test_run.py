"""Trunk features: those of the model, in the rows they belong to, and continued where they were interrupted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evenclip.data.shards import iterate_images
from evenclip.errors import InputError
from evenclip.features import FeatureOptions, compute_features
from evenclip.features import run as features_run
from evenclip.features.encoder import TrunkEncoder
from evenclip.features.table import FeatureTable
from evenclip.model.clip import create_clip, load_clip, save_clip
from evenclip.model.images import decode_images, normalise
from evenclip.model.trunks import without_projections
from support.tiny_training import write_model, write_squares

OPTIONS = FeatureOptions(dtype="float32", batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("features")
    write_squares(root / "data", 60, foils=True)
    write_squares(root / "other", 12)
    (root / "model").mkdir()
    save_clip(create_clip(str(write_model(root / "tiny.json"))), root / "model")
    (root / "colors.yaml").write_text("templates: ['a {}']\nclasses: {pink: [pink thing]}")
    compute_features(str(root / "model"), root / "data", root / "f", OPTIONS, [root / "colors.yaml"], root / "state")
    return root


def test_features_are_those_of_the_trunks(folder: Path):
    table = FeatureTable.read(folder / "f", folder / "data", str(folder / "model"))
    clip = load_clip(str(folder / "model"))
    decoded = dict(decode_images(iterate_images(folder / "data"), clip.preprocess_cfg, "data"))
    pixels = torch.from_numpy(np.stack([decoded[key] for key in table.keys]))
    with torch.inference_mode(), without_projections(clip.module.eval()):
        image = clip.module.encode_image(normalise(pixels, clip.preprocess_cfg))
        text = clip.module.encode_text(clip.tokenizer(list(table.texts)))
    np.testing.assert_allclose(table.image, image, atol=2e-6)
    np.testing.assert_allclose(table.text, text, atol=2e-6)


def test_captions_foils_and_prompts_are_there_once(folder: Path):
    table = FeatureTable.read(folder / "f", folder / "data")
    assert len(set(table.texts)) == len(table.texts) == 9  # two captions of each colour (foils are such), the prompt
    rows = table.text_rows(["a pink thing", "no such text", table.texts[0]])
    assert rows[1] == -1 and rows[2] == 0 and table.texts[rows[0]] == "a pink thing"


def test_an_interrupted_computation_continues(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features_run, "SAVED_EVERY", 2)
    texts, images = TrunkEncoder.texts, TrunkEncoder.images
    computed = []

    def count(self: TrunkEncoder, pairs: object, where: str):
        for batch in images(self, pairs, where):
            computed.append(len(batch))
            yield batch

    def stop(self: TrunkEncoder, names: list[str], first: int = 0):
        yield from list(texts(self, names, first))[:0]
        raise KeyboardInterrupt

    arguments = str(folder / "model"), folder / "data", tmp_path / "f", OPTIONS, [folder / "colors.yaml"]
    monkeypatch.setattr(TrunkEncoder, "images", count)
    monkeypatch.setattr(TrunkEncoder, "texts", stop)
    with pytest.raises(KeyboardInterrupt):
        compute_features(*arguments, tmp_path / "state")
    assert sum(computed) == 60 and not (tmp_path / "f").exists()
    monkeypatch.setattr(TrunkEncoder, "texts", texts)
    compute_features(*arguments, tmp_path / "state")
    assert sum(computed) == 60  # no image twice
    for name in ("image", "text"):
        assert np.array_equal(np.load(tmp_path / "f" / f"{name}.npy"), np.load(folder / "f" / f"{name}.npy"))
    assert not [path for path in (tmp_path / "state").iterdir() if path.is_dir()]


def test_images_that_were_interrupted_continue_at_the_next_batch(folder: Path, tmp_path: Path):
    matrix = features_run._Rows(tmp_path / "x", 5, "float32")
    batches = [(np.arange(0, 2), np.ones((2, 3))), (np.arange(2, 4), np.full((2, 3), 2.0))]
    matrix.fill(batches, "rows")
    again = features_run._Rows(tmp_path / "x", 5, "float32")
    assert again.n_done == 4
    again.fill([(np.array([4]), np.full((1, 3), 3.0))], "rows")
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [("other", "model", "other data"), ("data", "ViT-B-32:openai", "another model"), ("data", "model", "no trunk")],
)
def test_features_of_something_else_are_refused(folder: Path, data: str, model: str, message: str):
    path = folder / ("model" if message == "no trunk" else "f")
    model = model if ":" in model else str(folder / model)
    with pytest.raises(InputError, match=message):
        FeatureTable.read(path, folder / data, model)
