"""Which files a model is read from, and what it is wherever these lie. Loads no torch."""

from pathlib import Path

from evenclip.provenance import input_digest


def model_files(model: str) -> dict[str, Path]:
    """The files that ``model`` (as `load_clip` takes it) is read from, by what they are; none for an open_clip tag.

    `open_clip_config.json` beside a checkpoint is one of them: it says how pictures are prepared.
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
    """What ``model`` is, wherever it lies: digests of its files, and its open_clip name where no file describes it."""
    files = model_files(model)
    digests = {name: input_digest(path) for name, path in files.items()}
    if "model configuration" in files:
        return digests
    return digests | {"open_clip": model.rpartition(":")[0] if files else model}
