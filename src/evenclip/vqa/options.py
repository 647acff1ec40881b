"""Options and metric definition of visual question answering (VQA), and sets of questions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from evenclip.errors import InputError
from evenclip.evaluate.measurement import Definition
from evenclip.options import BatchSize, Count, Options, Threads

DEFINITIONS = (
    Definition(
        "vqa/accuracy", "official soft accuracy of answers, overall and by the property that the question asks for",
        "mean of min(annotators who gave the answer / 3, 1)", "[0, 1]", "most frequent answer to each type of question",
        "Antol et al. 2015, arXiv 1505.00468",
    ),
)  # fmt: skip


class VqaOptions(Options):
    """Options for training the answer head and the multi-modal encoder; both towers are frozen."""

    start: Literal["knowledge", "fresh"] = "fresh"
    """Initial weights of the multi-modal encoder: those of a run trained with knowledge (`knowledge`), or random
    (`fresh`)."""
    layers: Count = 2
    """Number of layers of a `fresh` encoder."""
    image_side: Count = 4
    """Number of rows (and columns) of tokens of an image."""
    n_answers: Annotated[int, Field(ge=2)] = 3000
    """Number of answer classes: the most frequent answers to the training questions."""
    questions_seen: Count = 40_000
    """Total number of training questions shown."""
    batch_size: BatchSize = 64
    """Number of questions in a batch."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of the one-cycle schedule."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Number of bootstrap resamples for each interval."""
    minimum_group: Annotated[int, Field(ge=2)] = 30
    """Smallest number of questions for a value; properties with fewer are marked "insufficient"."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device if available, else the CPU."""
    threads: Threads = 1
    """Number of CPU threads."""


@dataclass(frozen=True)
class QuestionSet:
    """A table of questions and the data folder of their pictures."""

    questions: Path
    data: Path

    @classmethod
    def from_argument(cls, argument: str, flag: str) -> Self:
        """Parse ``QUESTIONS.parquet=DATA``."""
        questions, _, data = argument.partition("=")
        if not questions or not data:
            raise InputError(f"'{argument}' is not QUESTIONS=DATA", flag, "e.g. questions.parquet=data/world/mixed")
        return cls(Path(questions), Path(data))
