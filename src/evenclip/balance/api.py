"""Auditing and balancing a table in one call: `evenclip.audit` and `evenclip.balance`."""

from collections.abc import Sequence
from typing import Any

from evenclip.balance.auditing import audit as audit_source
from evenclip.balance.estimator import M4Balancer
from evenclip.balance.options import BalanceOptions
from evenclip.balance.table.form import TableForm
from evenclip.balance.table.source import Source


def balance(
    table: Any,
    *,
    attributes: Sequence[str] = (),
    labels: Sequence[str] = (),
    key: str | None = None,
    seed: int = 0,
    **options: Any,
) -> M4Balancer:
    """Weigh the rows of a table so that groups are equally frequent and independent of the labels.

    Parameters
    ----------
    table : path, or pyarrow, pandas or polars table
        One row per image-text pair; docs/balance.md describes the forms.
    attributes : sequence of str
        Columns of group names, e.g. ``["gender"]``.
    labels : sequence of str
        Columns of true and false, e.g. ``["nurse", "pilot"]``.
    key : str, optional
        Column that names the rows.
    seed : int
        Of the copies' starting points.
    **options
        Fields of `BalanceOptions`, e.g. ``target={"gender.woman": 0.5}``.

    Returns
    -------
    M4Balancer
        With ``weight_``, ``copies_`` (one number per row) and ``report_``.

    Raises
    ------
    InputError
        The table is wrong, or the constraints cannot hold.
    """
    return M4Balancer(seed, **options).fit(_source(table, attributes, labels, key))


def audit(
    table: Any,
    weights: Any = None,
    *,
    attributes: Sequence[str] = (),
    labels: Sequence[str] = (),
    key: str | None = None,
    seed: int = 0,
    calibration: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Measure representation and association bias of a table, before and after weighting.

    Parameters
    ----------
    table : path, or pyarrow, pandas or polars table
        One row per image-text pair; docs/balance.md describes the forms.
    attributes, labels : sequence of str
        Columns of group names, and of true and false.
    key : str, optional
        Column that names the rows.
    weights : path or table, optional
        weights.parquet, or its content: what `balance` gives, by key.
    seed : int
        Of the bootstrap.
    calibration : path or table, optional
        Annotated rows with attribute, truth and perceived, to correct the result for label noise.
    **options
        ``target`` and ``attribute_coding`` of `BalanceOptions`.

    Returns
    -------
    dict
        ``rb`` and ``ab``: value and 95 % interval, ``before`` and, with weights, ``after``. ``groups`` and
        ``associations``: the same for each group, and for each group and label. ``kept``: how much of its share each
        label keeps. ``ess``: effective sample size.

    Raises
    ------
    InputError
        The table is wrong, or the weights are of other rows.
    """
    source = _source(table, attributes, labels, key)
    return audit_source(source, weights, BalanceOptions.parse(options, "audit"), seed=seed, calibration=calibration)


def _source(table: Any, attributes: Sequence[str], labels: Sequence[str], key: str | None) -> Source:
    return Source(table, TableForm(tuple(attributes), tuple(labels), key))
