"""Options and metric of visual question answering, and what names a set of questions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.measurement import Definition
from evenclip.options import BatchSize, Count, Options, Threads

DEFINITIONS = (
    Definition(
        "vqa/accuracy", "official soft accuracy of answers to questions, in all and by the property asked for",
        "mean of min(people who gave the answer / 3, 1)", "[0, 1]", "the usual answer to each type of question",
        "Antol et al. 2015, arXiv 1505.00468",
    ),
)  # fmt: skip


class VqaOptions(Options):
    """How the head is trained on the multi-modal encoder; the two towers stay as they are."""

    start: Literal["knowledge", "fresh"] = "fresh"
    """Where the multi-modal encoder starts: from the run's, which was trained with knowledge, or at random."""
    layers: Count = 2
    """Layers of an encoder that starts fresh."""
    image_side: Count = 4
    """Rows and columns of tokens of an image."""
    n_answers: Annotated[int, Field(ge=2)] = 3000
    """The most frequent answers of the training questions, among which an answer is chosen."""
    questions_seen: Count = 40_000
    """Training questions shown in all."""
    batch_size: BatchSize = 64
    """Questions in a batch."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Properties with fewer questions get no number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one."""
    threads: Threads = 1
    """CPU threads."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions and the pictures they are about."""

    questions: Path
    data: Path

    @classmethod
    def from_argument(cls, argument: str, flag: str) -> Self:
        """Read ``QUESTIONS.parquet=DATA``."""
        questions, _, data = argument.partition("=")
        if not questions or not data:
            raise InputError(f"'{argument}' is not QUESTIONS=DATA", flag, "e.g. questions.parquet=data/world/mixed")
        return cls(Path(questions), Path(data))
