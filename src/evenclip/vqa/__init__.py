"""Visual question answering (VQA): trains and measures an answer head on the multi-modal encoder.

Reads a trained model, questions of `evenclip data questions` and their pictures; writes metrics like
`evenclip evaluate`. Command: `evenclip vqa`.
"""

from pathlib import Path

from evenclip.vqa.options import QuestionSet, VqaOptions

__all__ = ["QuestionSet", "VqaOptions", "answer_questions"]


def answer_questions(
    model: str, train: QuestionSet, test: QuestionSet, name: str, out: Path, seed: int, options: VqaOptions
) -> None:
    """Run the stage; see `evenclip.vqa.run.answer_questions`. Imported lazily, so that options need no torch."""
    from evenclip.vqa.run import answer_questions as run

    run(model, train, test, name, out, seed, options)
