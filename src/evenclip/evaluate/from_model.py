"""Evaluation of a model in one step: embed what is not yet cached, then measure.

Reads a model, a data folder and prompt files; writes the JSON of `evaluate_set`. Command: `evenclip evaluate --model`.
"""

from pathlib import Path

from evenclip.embed.cache import EmbeddingCache
from evenclip.errors import InputError
from evenclip.evaluate.measurement import EvaluateOptions
from evenclip.evaluate.options import Task, train_split
from evenclip.evaluate.run import Embedder, evaluate_set


def evaluate_model(
    cache: EmbeddingCache, dataset: Path, name: str, tasks: list[Task], prompts: Path, out: Path, seed: int,
    options: EvaluateOptions, lexicon: Path | None = None,
) -> dict:  # fmt: skip
    """Measure ``tasks`` on a data folder with the model of ``cache``; other parameters as in `evaluate_set`.

    Parameters
    ----------
    prompts : Path
        Folder of the prompt files `<stem>.yaml` that the tasks name.

    Raises
    ------
    InputError
        The folder of prompts is missing (as it is outside a checkout), or as in `evaluate_set`.
    """
    stems = sorted({stem for task in tasks for stem in task.prompt_stems()})
    if stems and not prompts.is_dir():
        hint = "give --prompts CHECKOUT/config/prompts, or run in a checkout of evenclip"
        raise InputError(f"no folder with the prompts '{stems[0]}'", str(prompts), hint)
    embeddings = cache.files(dataset, [prompts / f"{stem}.yaml" for stem in stems])
    split = train_split(tasks)
    train = cache.files(dataset.parent / split, []) if split else None
    embedder = Embedder(cache.model, cache.model_identity, cache.options.precision, cache.options.device)
    return evaluate_set(dataset, embeddings, name, tasks, out, seed, options, train, embedder, lexicon)
