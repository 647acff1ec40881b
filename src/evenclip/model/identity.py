"""The files that a model is read from, and an identity that does not depend on where they lie. Loads no torch."""

import json
import os
from pathlib import Path

from evenclip.digests import check_output, fingerprint
from evenclip.errors import InputError
from evenclip.provenance import input_digest, write_json

OPEN_CLIP_CONFIG = "open_clip_config.json"
HUB = "hf-hub:"
"""open_clip reads configuration and weights of a name with this prefix from the Hugging Face Hub."""
LOCAL = "local-dir:"
"""open_clip's prefix of a folder; the folder's path alone does as well."""
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
CHECKPOINT_NAMES = (  # the order in which open_clip looks for them
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
)
TEXT_CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEXT_FILES = (TEXT_CONFIG, "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "*.model")
"""The files of a Hugging Face text tower and its tokenizer, in the folder of the model."""
TRUNKS = "trunks.json"
"""In a folder with projections alone: the model whose trunks they belong to."""


def model_folder(model: str) -> Path | None:
    """The folder that ``model`` names, with `local-dir:` before it or without; None if it is no folder."""
    folder = Path(model.removeprefix(LOCAL))
    return folder if folder.is_dir() else None


def checkpoint_in(folder: Path) -> Path:
    """The weights in a model folder: of `evenclip train`, or of a Hub repository.

    Raises
    ------
    InputError
        There are none, or they are not those that `evenclip train` wrote there.
    """
    for name in CHECKPOINT_NAMES:
        if (folder / name).is_file():
            check_output(folder / name)
            return folder / name
    raise InputError("no weights in it", str(folder), f"a model folder has one of {', '.join(CHECKPOINT_NAMES)}")


def named_files(name: str, model: str) -> dict[str, str]:
    """The files of a model that is named by a path: a file, or a folder, which another stage may have still to make.

    Keys are ``name`` and, for a folder, "<name> configuration"; a tag of open_clip or of the Hub has none.
    """
    if model.endswith((".json", *CHECKPOINT_SUFFIXES)):
        return {name: model}
    if "/" not in model or model.startswith(HUB):
        return {}
    folder = Path(model.removeprefix(LOCAL))
    present = [file for file in CHECKPOINT_NAMES if (folder / file).is_file()] or ["model.safetensors"]
    return {name: str(folder / present[0]), f"{name} configuration": str(folder / OPEN_CLIP_CONFIG)}


def model_files(model: str) -> dict[str, Path]:
    """The files that ``model`` (an argument of `load_clip`) is read from, by what they hold; none for an open_clip tag.

    They include `open_clip_config.json` beside a checkpoint, which describes the preprocessing of images.
    """
    config, _, checkpoint = model.rpartition(":")
    folder, path = model_folder(model), Path(model)
    if folder:
        return {
            "model": checkpoint_in(folder),
            "model configuration": folder / OPEN_CLIP_CONFIG,
            **{file.name: file for pattern in TEXT_FILES for file in sorted(folder.glob(pattern))},
        }
    if path.is_file():
        files = {"model": path, "model configuration": path.with_suffix(".json")}
    else:
        files = {"model": Path(checkpoint), "model configuration": Path(config)}
    if files["model"].is_file():
        files["preprocessing"] = files["model"].parent / OPEN_CLIP_CONFIG
    return {name: path for name, path in files.items() if path.is_file()}


def model_identity(model: str) -> dict[str, str]:
    """Digests of the model's files, and its open_clip name if no file describes it."""
    files, folder = model_files(model), model_folder(model)
    digests = {name: input_digest(path) for name, path in files.items()}
    if folder and (folder / TRUNKS).is_file():
        digests["trunks"] = fingerprint(_recorded_trunks(folder)["identity"])
    if "model configuration" in files:
        return digests
    return digests | {"open_clip": model.rpartition(":")[0] if files else model}


def write_trunks(model: str, folder: Path) -> None:
    """Write into ``folder`` whose trunks its projections belong to; a folder or file by its path from there."""
    is_path = bool(model_folder(model)) or Path(model).is_file()
    path = os.path.relpath(model_folder(model) or model, folder) if is_path else model
    write_json({"model": path, "is_path": is_path, "identity": model_identity(model)}, folder / TRUNKS)


def read_trunks(folder: Path) -> str:
    """The model whose trunks the projections in ``folder`` belong to, as `load_clip` takes it.

    Raises
    ------
    InputError
        It is not where it was, or it is another model now.
    """
    recorded = _recorded_trunks(folder)
    model = os.path.normpath(folder / recorded["model"]) if recorded["is_path"] else recorded["model"]
    whole = "put it back; `evenclip model export` writes a model that stands alone"
    if recorded["is_path"] and not Path(model).exists():
        raise InputError(f"the model of its trunks is not at {model}", str(folder), whole)
    if model_identity(model) != recorded["identity"]:
        raise InputError(f"{model} is not the model that its projections were trained on", str(folder), whole)
    return model


def _recorded_trunks(folder: Path) -> dict:
    try:
        recorded = json.loads((folder / TRUNKS).read_text(encoding="utf-8"))
        return {name: recorded[name] for name in ("model", "is_path", "identity")}
    except (ValueError, KeyError, TypeError):
        raise InputError("not readable", str(folder / TRUNKS), "train it again") from None
