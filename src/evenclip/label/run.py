"""Label the pairs of a data folder, from text and, where there are embeddings, from images.

Reads a data folder, a lexicon and embeddings; writes `<dataset>.parquet`, `<dataset>.json` (manifest: counts, words,
examples; how good the image side is, and how far the sides agree) and, where pairs were left out,
`<dataset>.quarantine.parquet`. With `--part 2/8` it does so for a block of shards; `evenclip label-gather` joins them.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.data.shards import WHOLE, Part, read_pairs
from evenclip.embed.npz import Embeddings, read_embeddings
from evenclip.errors import InputError
from evenclip.label.from_captions import Matcher, label_captions
from evenclip.label.lexicon import read_lexicon
from evenclip.label.noise import flip
from evenclip.label.options import AttributeSet, LabelOptions
from evenclip.label.quality import captions_of, image_text_similarity, lowest, utility
from evenclip.provenance import Manifest
from evenclip.tables import QUARANTINE_SCHEMA, write_table

SENSITIVE = "sensitive."


def label_dataset(
    data: str | os.PathLike,
    lexicon: str | os.PathLike,
    out: str | os.PathLike,
    options: LabelOptions,
    embeddings: str | os.PathLike | None = None,
    attribute_set: AttributeSet | None = None,
    part: Part = WHOLE,
) -> None:
    """Write the labels of the pairs in the data folder ``data`` to ``out`` and the manifest to its ``.json``.

    Parameters
    ----------
    embeddings : path, optional
        Embeddings of the pairs; needed for the image side and for similarity.
    attribute_set : AttributeSet, optional
        From which the image side learns. Each of its attributes is then there twice: `image.sensitive.*`, null where
        the image side abstains, and, where the lexicon has it, `text.sensitive.*` in place of `sensitive.*`.
    part : Part
        Which of the shards; without embeddings only, since what is made of these compares all pairs.

    Raises
    ------
    InputError
        If an input cannot be read, or an option needs embeddings that are not given.
    """
    out = Path(out)
    _check(options, embeddings, attribute_set, part)
    manifest = Manifest("label", options.model_dump(mode="json"), _inputs(data, lexicon, embeddings, attribute_set))
    words = read_lexicon(lexicon)
    matcher = Matcher(words)
    shards, pairs = part.shards(data), read_pairs(data, part=part)
    labels, found = label_captions(captions_of(pairs), matcher, options.pool)
    columns: dict[str, Any] = {name: labels[:, column] for column, name in enumerate(matcher.columns)}
    extra: dict[str, Any] = {}
    embedded = None if embeddings is None else read_embeddings(embeddings)
    if attribute_set is not None:
        columns, extra["image"] = _with_image_side(columns, pairs, embedded, attribute_set, options)
        found = {_text_name(name, attribute_set.attributes): summary for name, summary in found.items()}
    if options.flip_share:
        columns = _with_noise(columns, shards, options)
    similarity = None if embedded is None else _by_pair(embedded, pairs)
    if options.utility:
        columns["utility"] = utility(pairs, similarity, words.function_words, options)
    table = pa.table({"key": pairs.column("key"), **columns})
    if options.drop_lowest_similarity:
        dropped = lowest(similarity, options.drop_lowest_similarity)
        _write_quarantine(pairs, similarity, dropped, out.with_suffix(".quarantine.parquet"))
        table, extra["n_dropped"] = table.filter(pa.array(~dropped)), int(dropped.sum())
    write_table(table, out)
    for name, summary in found.items():  # words and examples are the captions'; the counts are the table's
        n = int(pc.sum(table.column(name)).as_py() or 0)
        summary |= {"n": n, "share": n / len(table) if len(table) else 0.0}
    if part != WHOLE:
        extra["part"] = f"{part.number}/{part.of}"
    manifest.write(out.with_suffix(".json"), n=len(table), columns=found, **extra)
    if part == WHOLE:
        warn_of_empty(found)


def warn_of_empty(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Name the columns that no caption names."""
    for name, summary in found.items():
        if summary["n"] == 0:
            print(f"label: no caption names {name}", file=sys.stderr)


def _check(options: LabelOptions, embeddings: Any, attribute_set: AttributeSet | None, part: Part) -> None:
    needs = {
        "an attribute set": attribute_set is not None,
        "utility=[similarity]": "similarity" in options.utility,
        "drop_lowest_similarity": options.drop_lowest_similarity > 0,
    }
    if embeddings is None and any(needs.values()):
        what = next(name for name, needed in needs.items() if needed)
        raise InputError(f"{what} needs embeddings of the pairs", "--embeddings", "make them with `evenclip embed`")
    if embeddings is not None and part != WHOLE:
        raise InputError("embeddings are of all pairs, a part is not", "--part", "label the whole folder at once")


def _inputs(data: Any, lexicon: Any, embeddings: Any, attribute_set: AttributeSet | None) -> dict[str, Any]:
    inputs = {"data": data, "lexicon": lexicon}
    if embeddings is not None:
        inputs["embeddings"] = embeddings
    if attribute_set is not None:
        inputs |= {"attribute embeddings": attribute_set.embeddings, "attribute data": attribute_set.data}
    return inputs


def _with_image_side(
    columns: dict[str, Any], pairs: pa.Table, embedded: Embeddings, annotated: AttributeSet, options: LabelOptions
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns with those of the image side, and what is known of its quality, by attribute."""
    from evenclip.label.from_images import perceive  # scikit-learn: only where there is an image side

    rows = embedded.rows(pairs.column("key").to_pylist())
    report: dict[str, Any] = {}
    for attribute in annotated.attributes:
        seen = perceive(attribute, annotated, embedded, options.min_confidence, options.seed)
        labels, speaks = seen.labels[rows], (rows >= 0) & seen.speaks[rows]
        prefix = f"{SENSITIVE}{attribute}."
        named = {value: columns[prefix + value] for value in seen.values if prefix + value in columns}
        shown = {value: labels[:, k] for k, value in enumerate(seen.values)}
        compared = _compare(named, shown, speaks, pairs, attribute)
        report[attribute] = {"held_out": seen.test, "n_speaks": int(speaks.sum()), **compared}
        columns = {_text_name(name, (attribute,)): each for name, each in columns.items()}
        columns |= {f"image.{prefix}{value}": pa.array(flags, mask=~speaks) for value, flags in shown.items()}
    return columns, report


def _text_name(name: str, attributes: Iterable[str]) -> str:
    """The name of a column from captions, where the image side has some of the attributes too."""
    return f"text.{name}" if name.startswith(tuple(f"{SENSITIVE}{attribute}." for attribute in attributes)) else name


def _compare(
    text: Mapping[str, np.ndarray],
    image: Mapping[str, np.ndarray],
    speaks: np.ndarray,
    pairs: pa.Table,
    attribute: str,
) -> dict[str, Any]:
    """How far text, image and, where the data folder has the attribute's column, the annotated truth agree."""
    from evenclip.label.agreement import Side, agreement

    values = tuple(text or image)
    always = np.ones(len(pairs), dtype=bool)
    sides = {"image": Side(np.column_stack([image[value] for value in values]), speaks)}
    found: dict[str, Any] = {}
    if text:
        sides["text"] = Side(np.column_stack([text[value] for value in values]), always)
        found["image_against_text"] = agreement(sides["text"], sides["image"], values)
    if attribute in pairs.column_names:
        annotated = np.array(pc.fill_null(pairs.column(attribute).cast("string"), "").to_pylist())
        truth = Side(annotated[:, None] == np.array(values), always)
        found |= {f"{name}_against_truth": agreement(truth, side, values) for name, side in sides.items()}
    return found


def _with_noise(columns: Mapping[str, Any], shards: list[dict[str, Any]], options: LabelOptions) -> dict[str, Any]:
    """The columns with ``flip_share`` of each attribute's labels wrong, each side for itself; nulls stay.

    By shard, so that the noise is the same in however many parts a data folder is labelled.
    """
    groups: dict[str, list[str]] = {}
    for name in columns:
        if name.removeprefix("image.").removeprefix("text.").startswith(SENSITIVE):
            groups.setdefault(name.rpartition(".")[0], []).append(name)
    ends = np.cumsum([shard["n"] for shard in shards])
    noisy = dict(columns)
    for number, names in enumerate(groups.values()):
        arrays = [pa.array(columns[name]) for name in names]
        known = arrays[0].is_valid().to_numpy(zero_copy_only=False)
        labels = np.column_stack([pc.fill_null(array, False).to_numpy(zero_copy_only=False) for array in arrays])
        for shard, end in zip(shards, ends, strict=True):
            rows = slice(end - shard["n"], end)
            rng = np.random.default_rng([options.seed, number, int(shard["name"])])
            labels[rows] = flip(labels[rows], options.flip_share, rng)
        noisy |= {name: pa.array(labels[:, k], mask=~known) for k, name in enumerate(names)}
    return noisy


def _by_pair(embedded: Embeddings, pairs: pa.Table) -> np.ndarray:
    """Image-text similarity of each pair, NaN where it is not embedded or has no caption."""
    rows = embedded.rows(pairs.column("key").to_pylist())
    return np.where(rows >= 0, image_text_similarity(embedded)[rows], np.nan)


def _write_quarantine(pairs: pa.Table, similarity: np.ndarray, dropped: np.ndarray, path: Path) -> None:
    keys = pairs.column("key").filter(pa.array(dropped))
    details = [f"similarity {value:.4f}" for value in similarity[dropped]]
    columns = {"name": keys, "reason": ["low_similarity"] * len(keys), "detail": details}
    write_table(pa.table(columns, schema=QUARANTINE_SCHEMA), path)
