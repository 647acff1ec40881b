"""Visual question answering (VQA): an answer head on the multi-modal encoder is trained and measured.

Reads a trained model, questions of `evenclip data questions` and their pictures; writes metrics like
`evenclip evaluate`. Command: `evenclip vqa`.
"""

from pathlib import Path

from evenclip.vqa.options import QuestionSet, VqaOptions

__all__ = ["QuestionSet", "VqaOptions", "answer_questions"]


def answer_questions(
    model: str, train: QuestionSet, test: QuestionSet, name: str, out: Path, seed: int, options: VqaOptions
) -> None:
    """Train and measure; see `evenclip.vqa.run.answer_questions`, imported here so that options load without torch."""
    from evenclip.vqa.run import answer_questions as run

    run(model, train, test, name, out, seed, options)
