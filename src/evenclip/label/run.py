"""The label stage: label the pairs of a data folder by their captions and, where there are embeddings, by their images.

Reads a data folder, a lexicon and embeddings; writes `<dataset>.parquet` and `<dataset>.json` (manifest: counts, words,
examples; quality of the image side; agreement of both sides). Where a classifier labels images it also writes
`<dataset>.calibration.parquet` (what it says of held-out annotated images, for `evenclip audit --calibration`); where
pairs are left out, `<dataset>.quarantine.parquet`. With `--part 2/8` it labels a block of shards;
`evenclip label-gather` joins the blocks.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenclip.data.shards import WHOLE, Part, read_pairs
from evenclip.digests import manifest_beside
from evenclip.embedding_files import Embeddings, read_embeddings
from evenclip.errors import InputError
from evenclip.label.from_captions import label_captions
from evenclip.label.from_columns import text_name, with_annotations
from evenclip.label.lexicon import Lexicon, is_without_spaces, read_lexicon, readable
from evenclip.label.matching import Matcher
from evenclip.label.noise import shuffled, with_noise
from evenclip.label.options import AttributeSet, LabelOptions
from evenclip.label.quality import captions_of, image_text_similarity, lowest, utility
from evenclip.provenance import Manifest, only_writer
from evenclip.tables import QUARANTINE_SCHEMA, digest_of_keys, write_table

WORD_COUNTING = ("caption_length", "wording")
"""Parts of `utility` that need captions with spaces between words."""


def label_dataset(
    data: str | os.PathLike,
    lexicon: str | os.PathLike,
    out: str | os.PathLike,
    options: LabelOptions,
    embeddings: str | os.PathLike | None = None,
    attribute_set: AttributeSet | None = None,
    part: Part = WHOLE,
) -> None:
    """Write the labels of the pairs in the data folder ``data`` to ``out``, and the manifest beside it as `.json`.

    Parameters
    ----------
    data : path
        Data folder.
    lexicon : path
        Lexicon file.
    out : path
        Parquet file to write.
    options : LabelOptions
    embeddings : path, optional
        Embeddings of the pairs; needed for the image side and for similarity.
    attribute_set : AttributeSet, optional
        Annotated images, on which the image side is trained. Each of its attributes then has columns
        `image.sensitive.*`, null where the image side abstains, and those of the lexicon become `text.sensitive.*`.
    part : Part
        The shards to label; parts need ``embeddings`` None, because what is made of embeddings compares all pairs.

    Raises
    ------
    InputError
        If an input cannot be read, or an option needs embeddings that are not given.
    """
    out, beside = Path(out), manifest_beside(out)
    quarantine, calibration = out.with_suffix(".quarantine.parquet"), out.with_suffix(".calibration.parquet")
    tables: dict[Path, pa.Table] = {}
    words = read_lexicon(lexicon)
    _check(options, words, embeddings, attribute_set, part)
    manifest = Manifest("label", options.model_dump(mode="json"), _inputs(data, lexicon, embeddings, attribute_set))
    matcher = Matcher(words)
    shards, pairs = part.shards(data), read_pairs(data, part=part)
    labels, summaries = label_captions(captions_of(pairs), matcher, options.pool)
    columns: dict[str, Any] = {name: labels[:, column] for column, name in enumerate(matcher.columns)}
    extra: dict[str, Any] = {}
    embedded = None if embeddings is None else read_embeddings(embeddings, data=data)
    if attribute_set is not None:
        from evenclip.label.from_images import text_column, with_image_side  # scikit-learn: only where it is needed

        columns, extra["image"], calibrated = with_image_side(columns, pairs, embedded, attribute_set, options)
        tables[calibration] = calibrated
        summaries = {text_column(name, attribute_set.attributes): summary for name, summary in summaries.items()}
    if options.columns or options.target_columns:
        columns = with_annotations(columns, pairs, options)
        summaries = {text_name(name, options): summary for name, summary in summaries.items()}
    if options.flip_share:
        columns = with_noise(columns, shards, options)
    if options.shuffle:
        columns = shuffled(columns, options.seed)
    similarity = None if embedded is None else _similarity_by_pair(embedded, pairs)
    if options.utility:
        columns["utility"] = utility(pairs, similarity, words.function_words, options)
    table = pa.table({"key": pairs.column("key"), **columns})
    if options.drop_lowest_similarity:
        dropped = lowest(similarity, options.drop_lowest_similarity)
        extra |= {
            "n_dropped": int(dropped.sum()),
            "dropped_keys": digest_of_keys(table["key"].filter(pa.array(dropped))),
        }
        tables[quarantine] = _quarantined(pairs, similarity, dropped)
        table = table.filter(pa.array(~dropped))
    for name, summary in summaries.items():  # words and examples are those of the captions; counts, of the table
        n = int(pc.sum(table.column(name)).as_py() or 0)
        summary |= {"n": n, "share": n / len(table) if len(table) else 0.0}
    if part != WHOLE:
        extra["part"] = f"{part.number}/{part.of}"
    tables[out] = table
    with only_writer(out):
        for path, content in tables.items():
            write_table(content, path)
        manifest.write(beside, tables, n=len(table), columns=summaries, **extra)
    if part == WHOLE:
        warn_of_empty(summaries)
        _warn_of_script(words)


def warn_of_empty(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Name the columns that no caption names on stderr; say so if these are all."""
    empty = [name for name, summary in summaries.items() if summary["n"] == 0]
    for name in empty:
        print(f"label: no caption names {name}", file=sys.stderr)
    if len(empty) == len(summaries):
        print("label: no caption matches the lexicon at all; are both in the same language?", file=sys.stderr)


def _warn_of_script(lexicon: Lexicon) -> None:
    """Warn where whole words are sought in a script that has no spaces between words."""
    phrase = next((phrase for phrase in sorted(lexicon.phrases()) if is_without_spaces(phrase)), None)
    if lexicon.match == "words" and phrase is not None:
        what = (
            f"label: '{readable(phrase)}' is in a script without spaces and matches only between spaces or punctuation"
        )
        print(f"{what}; write `match: substring` in the lexicon", file=sys.stderr)


def _check(
    options: LabelOptions, lexicon: Lexicon, embeddings: Any, attribute_set: AttributeSet | None, part: Part
) -> None:
    needs = {
        "an attribute set": attribute_set is not None,
        "utility=[similarity]": "similarity" in options.utility,
        "drop_lowest_similarity": options.drop_lowest_similarity > 0,
    }
    if embeddings is None and any(needs.values()):
        what = next(name for name, needed in needs.items() if needed)
        raise InputError(f"{what} needs embeddings of the pairs", "--embeddings", "make them with `evenclip embed`")
    if part != WHOLE and (options.columns or options.target_columns):
        what = "annotated columns need all pairs, not a part"
        raise InputError(what, "--part", "label the whole folder at once")
    if part != WHOLE and options.shuffle:
        raise InputError("shuffled labels need all pairs, not a part", "--part", "label the whole folder at once")
    if options.unseen and not (options.columns or options.target_columns):
        what = "what captions name and images do not show needs an image side from columns"
        raise InputError(what, "option unseen", "name the columns with `columns` and `target_columns`")
    if attribute_set is not None and (twice := set(options.columns) & set(attribute_set.attributes)):
        what = f"'{min(twice)}' has an image side from a column and from a classifier"
        raise InputError(what, "option columns", "take it out of one of them")
    if embeddings is not None and part != WHOLE:
        raise InputError("embeddings need all pairs, not a part", "--part", "label the whole folder at once")
    if lexicon.match == "substring" and (counting := set(options.utility) & set(WORD_COUNTING)):
        what = f"'{min(counting)}' counts words, and `match: substring` is for captions without spaces between them"
        raise InputError(what, "option utility", "leave it out")


def _inputs(data: Any, lexicon: Any, embeddings: Any, attribute_set: AttributeSet | None) -> dict[str, Any]:
    inputs = {"data": data, "lexicon": lexicon}
    if embeddings is not None:
        inputs["embeddings"] = embeddings
    if attribute_set is not None:
        inputs |= {"attribute embeddings": attribute_set.embeddings, "attribute data": attribute_set.data}
    return inputs


def _similarity_by_pair(embedded: Embeddings, pairs: pa.Table) -> np.ndarray:
    """Image-text similarity of each pair, NaN where it is not embedded or has no caption."""
    rows = embedded.rows(pairs.column("key").to_pylist())
    return np.where(rows >= 0, image_text_similarity(embedded)[rows], np.nan)


def _quarantined(pairs: pa.Table, similarity: np.ndarray, dropped: np.ndarray) -> pa.Table:
    keys = pairs.column("key").filter(pa.array(dropped))
    details = [f"similarity {value:.4f}" for value in similarity[dropped]]
    columns = {"name": keys, "reason": ["low_similarity"] * len(keys), "detail": details}
    return pa.table(columns, schema=QUARANTINE_SCHEMA)
