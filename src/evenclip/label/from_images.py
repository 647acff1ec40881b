"""Perceived attributes of images: a calibrated classifier on frozen embeddings that abstains where it is not sure.

It is trained on an attribute set such as UTKFace, FairFace or the embedded world: embeddings, and a data folder with
the annotated values in a column of the attribute's name. An empty value means that nobody is shown; where the set has
such rows, "nobody" is one more class, for which all values are false.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evenclip.data.shards import read_pairs
from evenclip.embedding_files import Embeddings, read_embeddings
from evenclip.errors import InputError
from evenclip.label.agreement import compare_sides, share_with_interval
from evenclip.label.options import AttributeSet, LabelOptions
from evenclip.label_columns import ABSTAINS, NOBODY

HELD_OUT = 0.2
N_FOLDS = 5
MIN_PER_VALUE = 25  # 5 are held out, and 20 are calibrated in 5 folds
MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class PerceivedAttribute:
    """The image side's labels of one attribute.

    Attributes
    ----------
    values : tuple of str
        The k values of the attribute.
    labels : ndarray of bool, shape (n, k)
        The likeliest value of each image; all False = nobody.
    is_confident : ndarray of bool, shape (n,)
        Where the classifier does not abstain.
    held_out : dict
        Quality on annotated images that it was not trained on.
    calibration : Table
        What it perceived on each of these: `attribute` (with the side), `truth` and `perceived`.
    """

    values: tuple[str, ...]
    labels: np.ndarray
    is_confident: np.ndarray
    held_out: dict[str, Any]
    calibration: pa.Table


def with_image_side(
    columns: dict[str, Any], pairs: pa.Table, embedded: Embeddings, annotated: AttributeSet, options: LabelOptions
) -> tuple[dict[str, Any], dict[str, Any], pa.Table]:
    """Add the label columns of the image side.

    Parameters
    ----------
    columns : dict of str to array
        Label columns from captions.
    pairs : Table
        The pairs of the data folder; n rows.
    embedded : Embeddings
        Of the pairs; those without an embedding get null.
    annotated : AttributeSet
    options : LabelOptions

    Returns
    -------
    columns : dict of str to array
        With `image.sensitive.*`, null where the image side abstains, and with `text.sensitive.*` of these attributes.
    report : dict
        By attribute, the quality of the image side and the agreement of both sides.
    calibration : Table
        The calibration sets of all attributes, for `evenclip audit --calibration`.
    """
    rows = embedded.rows(pairs.column("key").to_pylist())
    report: dict[str, Any] = {}
    calibration = []
    for attribute in annotated.attributes:
        perceived = perceive(attribute, annotated, embedded, options.min_confidence, options.seed)
        labels, is_labelled = perceived.labels[rows], (rows >= 0) & perceived.is_confident[rows]
        calibration.append(perceived.calibration)
        prefix = f"sensitive.{attribute}."
        by_text = {value: columns[prefix + value] for value in perceived.values if prefix + value in columns}
        by_image = {value: labels[:, k] for k, value in enumerate(perceived.values)}
        agreements = compare_sides(by_text, by_image, is_labelled, pairs, attribute)
        report[attribute] = {"held_out": perceived.held_out, "n_speaks": int(is_labelled.sum()), **agreements}
        columns = {text_column(name, (attribute,)): values for name, values in columns.items()}
        columns |= {f"image.{prefix}{value}": pa.array(flags, mask=~is_labelled) for value, flags in by_image.items()}
    return columns, report, pa.concat_tables(calibration)


def text_column(name: str, attributes: Iterable[str]) -> str:
    """The name of a caption column, given the attributes that have an image side too."""
    return f"text.{name}" if name.startswith(tuple(f"sensitive.{attribute}." for attribute in attributes)) else name


def perceive(
    attribute: str, annotated: AttributeSet, images: Embeddings, min_confidence: float, seed: int
) -> PerceivedAttribute:
    """Label images with the values of an attribute.

    A logistic regression on standardised embeddings is trained on four fifths of the annotated set, with Platt scaling
    in five folds [1]_, and tested on the rest.

    Parameters
    ----------
    attribute : str
        Column of the annotated set.
    annotated : AttributeSet
    images : Embeddings
        The n images to label.
    min_confidence : float
        Calibrated probability, in [0, 1), below which the classifier abstains.
    seed : int
        Seed of the split.

    Raises
    ------
    InputError
        If the annotated set lacks the attribute or is too small, or its embeddings are of another dimension.

    References
    ----------
    .. [1] Platt, "Probabilistic outputs for support vector machines", 1999; scikit-learn's CalibratedClassifierCV.
    """
    features, truth = _annotated(attribute, annotated)
    if features.shape[1] != images.image.shape[1]:
        what = f"embeddings of dimension {features.shape[1]}, those of the images have {images.image.shape[1]}"
        raise InputError(what, str(annotated.embeddings), "embed both sets with one model")
    train, test = train_test_split(np.arange(len(truth)), test_size=HELD_OUT, stratify=truth, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    classifier = CalibratedClassifierCV(model, cv=folds).fit(features[train], truth[train])
    values = tuple(str(value) for value in classifier.classes_ if value)
    predicted, is_confident = _predict(classifier, images.image, min_confidence)
    tested = _predict(classifier, features[test], min_confidence)
    held_out = {"n_train": len(train), **_quality(*tested, truth[test])}
    labels = predicted[:, None] == np.array(values)
    calibration = _calibration(attribute, *tested, truth[test])
    return PerceivedAttribute(values, labels, is_confident, held_out, calibration)


def _annotated(attribute: str, annotated: AttributeSet) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) and values (n,) str of the annotated images, in the order of their keys."""
    table = read_pairs(annotated.data)
    if attribute not in table.column_names:
        have = ", ".join(table.column_names)
        raise InputError(f"no column '{attribute}'", str(annotated.data), f"the data folder has: {have}")
    embeddings = read_embeddings(annotated.embeddings, data=annotated.data)
    truth = np.array(pc.fill_null(table.column(attribute).cast("string"), "").to_pylist())
    rows = embeddings.rows(table.column("key").to_pylist())
    values, counts = np.unique(truth[rows >= 0], return_counts=True)
    if len(values) < 2 or counts.min() < MIN_PER_VALUE:
        listed = ", ".join(f"'{value}' {count}" for value, count in zip(values, counts, strict=True)) or "none"
        need = f"at least two values with {MIN_PER_VALUE} embedded images each are needed"
        raise InputError(f"too few annotated images: {listed}", f"{annotated.data}, column {attribute}", need)
    return embeddings.image[rows[rows >= 0]], truth[rows >= 0]


def _predict(
    classifier: CalibratedClassifierCV, features: np.ndarray, min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest value of each row, (n,) str, and whether its probability is at least ``min_confidence``, (n,)."""
    probability = classifier.predict_proba(features)
    best = probability.argmax(axis=1)
    return classifier.classes_[best], probability[np.arange(len(best)), best] >= min_confidence


def _calibration(attribute: str, predicted: np.ndarray, is_confident: np.ndarray, truth: np.ndarray) -> pa.Table:
    """A row for each held-out image: what it shows, and what the classifier says."""
    said = np.where(is_confident, np.where(predicted == "", NOBODY, predicted), ABSTAINS)
    truth = np.where(truth == "", NOBODY, truth)
    return pa.table({"attribute": [f"image.{attribute}"] * len(truth), "truth": truth, "perceived": said})


def _quality(predicted: np.ndarray, is_confident: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Held-out accuracy over all rows, and over those where the classifier does not abstain."""
    is_right = predicted == truth
    return {
        "n_test": len(truth),
        "accuracy": share_with_interval(int(is_right.sum()), len(truth)),
        "speaks": share_with_interval(int(is_confident.sum()), len(truth)),
        "accuracy_where_it_speaks": share_with_interval(int(is_right[is_confident].sum()), int(is_confident.sum())),
        "recall_by_value": {
            str(value or NOBODY): share_with_interval(int(is_right[truth == value].sum()), int((truth == value).sum()))
            for value in np.unique(truth)
        },
    }
