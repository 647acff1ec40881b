"""Options of the embedding stage, and the sets to embed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from evenclip.errors import InputError
from evenclip.options import Options, Threads


class EmbedOptions(Options):
    """How sets are embedded."""

    batch_size: Annotated[int, Field(ge=1, le=10**7)] = 128
    """Images or texts embedded at once; on a CPU at most 64 texts or 800,000 pixels (16 images of 224 x 224) in
    each thread, and at least 16 images."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of matrix products; embeddings are saved in float32 in any case."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device if there is one."""
    threads: Threads = 1
    """CPU threads."""


@dataclass(frozen=True)
class EmbedSet:
    """A set to embed: its name, which names the file written, its data folder and its prompt files."""

    name: str
    data: Path
    prompts: tuple[Path, ...] = ()

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Read ``NAME=DATA[:PROMPTS,...]``; the folder's path may hold colons, those of the prompt files may not."""
        name, _, rest = argument.partition("=")
        data, colon, prompts = (rest, "", "") if Path(rest).is_dir() else rest.rpartition(":")
        if not colon:
            data, prompts = rest, ""
        if not name.isidentifier() or not data:
            raise InputError(f"'{argument}' is not a set", "--set", "write NAME=DATA or NAME=DATA:PROMPTS.yaml,...")
        return cls(name, Path(data), tuple(Path(path) for path in prompts.split(",") if path))
