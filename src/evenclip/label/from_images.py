"""Perceived attributes of images: a calibrated classifier on frozen embeddings that abstains where it is not sure.

It is trained on an attribute set, such as UTKFace, FairFace or the embedded world: embeddings, and a data folder whose
column of the attribute's name holds the annotated values. '' there means that nobody is shown; if the set has such
rows they are a class of their own, for which all values are false.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evenclip.data.shards import read_pairs
from evenclip.embed.npz import Embeddings, read_embeddings
from evenclip.errors import InputError
from evenclip.label.agreement import share_with_interval
from evenclip.label.options import AttributeSet

HELD_OUT = 0.2
N_FOLDS = 5
MIN_PER_VALUE = 25  # of which 5 are held out and the others calibrated in 5 folds
MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class Perceived:
    """What the image side sees of one attribute.

    ``values`` (k,) str; ``labels`` (n, k) bool; ``speaks`` (n,) bool: it does not abstain; ``test``: held-out quality.
    """

    values: tuple[str, ...]
    labels: np.ndarray
    speaks: np.ndarray
    test: dict[str, Any]


def perceive(
    attribute: str, annotated: AttributeSet, images: Embeddings, min_confidence: float, seed: int
) -> Perceived:
    """Label ``images`` with the values of ``attribute``.

    Four fifths of the annotated set train a logistic regression on standardised embeddings, with Platt scaling in five
    folds [1]_; the rest tests it.

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
    seen, sure = _choose(classifier, images.image, min_confidence)
    quality = _quality(*_choose(classifier, features[test], min_confidence), truth[test])
    labels = seen[:, None] == np.array(values)
    return Perceived(values, labels, sure, {"n_train": len(train), **quality})


def _annotated(attribute: str, annotated: AttributeSet) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) and values (n,) str of the annotated images, in the order of their keys."""
    table = read_pairs(annotated.data)
    if attribute not in table.column_names:
        have = ", ".join(table.column_names)
        raise InputError(f"no column '{attribute}'", str(annotated.data), f"the data folder has: {have}")
    embeddings = read_embeddings(annotated.embeddings)
    truth = np.array(pc.fill_null(table.column(attribute).cast("string"), "").to_pylist())
    rows = embeddings.rows(table.column("key").to_pylist())
    values, counts = np.unique(truth[rows >= 0], return_counts=True)
    if len(values) < 2 or counts.min() < MIN_PER_VALUE:
        found = ", ".join(f"'{value}' {count}" for value, count in zip(values, counts, strict=True)) or "none"
        need = f"at least two values with {MIN_PER_VALUE} embedded images each are needed"
        raise InputError(f"too few annotated images: {found}", f"{annotated.data}, column {attribute}", need)
    return embeddings.image[rows[rows >= 0]], truth[rows >= 0]


def _choose(
    classifier: CalibratedClassifierCV, features: np.ndarray, min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest value of each row (n,) str, and whether its probability is enough (n,) bool."""
    probability = classifier.predict_proba(features)
    best = probability.argmax(axis=1)
    return classifier.classes_[best], probability[np.arange(len(best)), best] >= min_confidence


def _quality(seen: np.ndarray, sure: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Held-out accuracy over all rows, and over those where the classifier does not abstain."""
    return {
        "n_test": len(truth),
        "accuracy": share_with_interval(int((seen == truth).sum()), len(truth)),
        "speaks": share_with_interval(int(sure.sum()), len(truth)),
        "accuracy_where_it_speaks": share_with_interval(int((seen == truth)[sure].sum()), int(sure.sum())),
        "recall_by_value": {
            str(value or "nobody"): share_with_interval(
                int((seen == value)[truth == value].sum()), int((truth == value).sum())
            )
            for value in np.unique(truth)
        },
    }
