"""Reader of embedded sets: unit embeddings, prompt ensembles and the truth columns of the data folder.

Reads `results/<study>/embed/<run>/seed<k>/<set>.npz` (`evenclip.embedding_files`) and
`data/<dataset>/<split>/*.parquet`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from evenclip.data.shards import read_pairs
from evenclip.embedding_files import PromptEmbeddings, read_embeddings, unit_rows
from evenclip.errors import InputError
from evenclip.evaluate.embedded import EmbeddedSet, PromptClasses


def read_embedded_set(
    dataset: Path, embeddings: list[Path], name: str, columns: list[str], lexicon: Path | None = None
) -> EmbeddedSet:
    """Read and check one set.

    Vectors are normalised. The embedding of a class is the normalised mean of its normalised template embeddings (the
    prompt ensemble of CLIP).

    Parameters
    ----------
    dataset : Path
        Data folder. It may have more pairs than the embeddings, in another order.
    embeddings : list of Path
        `.npz` files for `evenclip.embedding_files.read_embeddings`; `logit_scale` is required.
    name : str
        Name of the set.
    columns : list of str
        Truth columns to read.
    lexicon : Path, optional
        Lexicon by which captions name the perceived attributes that the data folder has no column of.

    Raises
    ------
    InputError
        An array, column or key is wrong; the message names it.
    """
    content = read_embeddings(*embeddings, data=dataset)
    if content.logit_scale is None:
        hint = "save the factor by which the model multiplies cosine similarities"
        raise InputError("the array 'logit_scale' is missing", content.where, hint)
    prompts = {
        stem: _prompt_classes(prompts, f"{content.where}, mean of prompt/{stem}")
        for stem, prompts in content.prompts.items()
    }
    truth, n_missing = _truth(dataset, content.key.tolist(), columns, lexicon, content.where)
    has_text = len(content.text) > 0
    return EmbeddedSet(
        name,
        content.where,
        unit_rows(content.image),
        unit_rows(content.text) if has_text else None,
        content.text_image if has_text else None,
        None if content.foil is None else unit_rows(content.foil),
        prompts,
        content.logit_scale,
        truth,
        n_missing,
    )


def _prompt_classes(prompts: PromptEmbeddings, where: str) -> PromptClasses:
    templates = unit_rows(prompts.templates)
    mean = templates.mean(axis=0)
    is_zero = ~mean.any(axis=1)
    if is_zero.any():
        what = f"the templates of '{prompts.classes[is_zero.argmax()]}' cancel out"
        raise InputError(what, where, "give other templates")
    return PromptClasses(prompts.classes, unit_rows(mean), templates)


def _truth(
    dataset: Path, keys: list[str], columns: list[str], lexicon: Path | None, where: str
) -> tuple[dict[str, np.ndarray], int]:
    # joined in Python: building Arrow arrays from Python values imports pandas, which takes a second
    named = _named_groups(dataset, columns, lexicon) if lexicon else {}
    columns = [column for column in columns if column not in named]
    table = read_pairs(dataset, ["key", *columns])
    row = {key: index for index, key in enumerate(table.column("key").to_pylist())}
    unknown = [key for key in keys if key not in row]
    if unknown:
        what = f"{len(unknown)} keys are not in {dataset}, e.g. '{unknown[0]}'"
        raise InputError(what, f"{where}, key", "name the data folder that was embedded")
    index = [row[key] for key in keys]
    truth = {}
    for column in columns:
        values = table.column(column).cast(pa.string()).to_pylist()
        truth[column] = np.array([values[i] or "" for i in index], dtype=str)
    return truth | {column: values[index] for column, values in named.items()}, table.num_rows - len(keys)


def _named_groups(dataset: Path, columns: list[str], lexicon: Path) -> dict[str, np.ndarray]:
    """For each attribute that the data has no column of: the one group that the captions of a pair name, else ''."""
    from evenclip.label.from_captions import label_captions
    from evenclip.label.lexicon import read_lexicon
    from evenclip.label.matching import Matcher

    pairs, words = read_pairs(dataset), read_lexicon(lexicon)
    attributes = [name for name in words.sensitive if name in columns and name not in pairs.column_names]
    if not attributes:
        return {}
    matcher = Matcher(words)
    labels, _ = label_captions(pairs.column("captions").to_pylist(), matcher, "any")
    groups = {}
    for attribute in attributes:
        values = np.array([*words.sensitive[attribute], ""])
        mentions = labels[:, [matcher.columns.index(f"sensitive.{attribute}.{value}") for value in values[:-1]]]
        groups[attribute] = values[np.where(mentions.sum(axis=1) == 1, mentions.argmax(axis=1), len(values) - 1)]
    return groups
