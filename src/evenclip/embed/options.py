"""Options of the embedding stage, and what names a set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from evenclip.errors import InputError
from evenclip.options import Options
from evenclip.provenance import input_digest

Count = Annotated[int, Field(ge=1)]


class EmbedOptions(Options):
    """How sets are embedded."""

    batch_size: Count = 256
    """Images or texts embedded at once."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: matrix products in bfloat16; embeddings are saved in float32 either way."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one."""
    threads: Count = 1
    """CPU threads."""


@dataclass(frozen=True)
class EmbedSet:
    """A set to embed: its name (of the file written), its shards and its prompt files."""

    name: str
    data: Path
    prompts: tuple[Path, ...] = ()

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Read ``NAME=DATA[:PROMPTS,...]``."""
        name, _, rest = argument.partition("=")
        data, _, prompts = rest.partition(":")
        if not name.isidentifier() or not data:
            raise InputError(f"'{argument}' names no set", "--set", "write NAME=DATA or NAME=DATA:PROMPTS.yaml,...")
        return cls(name, Path(data), tuple(Path(path) for path in prompts.split(",") if path))


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
