"""Options and metric of visual question answering, and the sets of questions."""

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
    """Training of the answer head and the multi-modal encoder; the two towers are frozen."""

    start: Literal["knowledge", "fresh"] = "fresh"
    """Initialisation of the multi-modal encoder: the run's, which was trained with knowledge, or random."""
    layers: Count = 2
    """Layers of a `fresh` encoder."""
    image_side: Count = 4
    """Rows and columns of the tokens of an image."""
    n_answers: Annotated[int, Field(ge=2)] = 3000
    """Number of classes: the most frequent answers to the training questions."""
    questions_seen: Count = 40_000
    """Training questions shown in total."""
    batch_size: BatchSize = 64
    """Questions in a batch."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of the one-cycle schedule."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Properties with fewer questions are not reported."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device if there is one."""
    threads: Threads = 1
    """CPU threads."""


@dataclass(frozen=True)
class QuestionSet:
    """A table of questions and the data folder of their pictures."""

    questions: Path
    data: Path

    @classmethod
    def from_argument(cls, argument: str, flag: str) -> Self:
        """Read ``QUESTIONS.parquet=DATA``."""
        questions, _, data = argument.partition("=")
        if not questions or not data:
            raise InputError(f"'{argument}' is not QUESTIONS=DATA", flag, "e.g. questions.parquet=data/world/mixed")
        return cls(Path(questions), Path(data))
