"""The files that a model is read from, and an identity that does not depend on where they lie. Loads no torch."""

from pathlib import Path

from evenclip.provenance import input_digest


def model_files(model: str) -> dict[str, Path]:
    """The files that ``model`` (an argument of `load_clip`) is read from, by what they hold; none for an open_clip tag.

    They include `open_clip_config.json` beside a checkpoint, which describes the preprocessing of images.
    """
    folder, (config, _, checkpoint) = Path(model), model.rpartition(":")
    if folder.is_dir():
        return {"model": folder / "model.safetensors", "model configuration": folder / "open_clip_config.json"}
    if folder.is_file():
        named = {"model": folder, "model configuration": folder.with_suffix(".json")}
    else:
        named = {"model": Path(checkpoint), "model configuration": Path(config)}
    if named["model"].is_file():
        named["preprocessing"] = named["model"].parent / "open_clip_config.json"
    return {name: path for name, path in named.items() if path.is_file()}


def model_identity(model: str) -> dict[str, str]:
    """Digests of the model's files, and its open_clip name if no file describes it."""
    files = model_files(model)
    digests = {name: input_digest(path) for name, path in files.items()}
    if "model configuration" in files:
        return digests
    return digests | {"open_clip": model.rpartition(":")[0] if files else model}
