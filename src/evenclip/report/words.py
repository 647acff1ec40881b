"""Text forms of numbers, labels, runs and metrics, for tables, sentences and figure descriptions."""

import re
from typing import Any, Self

import numpy as np
from markupsafe import Markup, escape

from evenclip.bias import UNDEFINED
from evenclip.label_columns import LabelColumn
from evenclip.metrics import known_metrics
from evenclip.results import Estimate, StudyResults

_PATH = re.compile(r"\b(?:data|train|bias|zeroshot|retrieval|recognition|compositional|linear_probe|few_shot|vqa"
                   r"|link_prediction)/(?:[\w*.-]+/)*[\w*]+")  # fmt: skip


class Term(str):
    """Text for people with the exact name, ``path``, that it stands for; pages show it as a tooltip."""

    path: str

    def __new__(cls, text: str, path: str) -> Self:
        """Create from text and path."""
        term = super().__new__(cls, text)
        term.path = path
        return term


def number(value: Any) -> str:
    """Format a cell: counts with separators, shares with three decimals, tiny values in powers of ten, '' for none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) or abs(value) >= 100:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.0e}"
    return f"{value:.3f}"


def interval(estimate: Estimate) -> str:
    """Format ``0.280 [0.250, 0.310]``; no brackets without an interval, ``undefined`` without a mean."""
    if np.isnan(estimate.mean):
        return UNDEFINED
    decimals = 3 if abs(estimate.mean) < 100 else 0
    low, high = f"{estimate.ci_low:.{decimals}f}", f"{estimate.ci_high:.{decimals}f}"
    ends = f" [{low}, {high}]" if np.isfinite(estimate.ci_low) else ""
    return f"{estimate.mean:.{decimals}f}{ends}"


def signed(value: float) -> str:
    """Format a difference: ``+0.020``, ``-0.005``; one that rounds to 0 has no sign.

    >>> signed(0.02), signed(-0.0002)
    ('+0.020', '0.000')
    """
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def signed_interval(difference: Estimate) -> str:
    """Format a difference with its interval: ``-0.200 [-0.260, -0.140]``."""
    ends = f" [{signed(difference.ci_low)}, {signed(difference.ci_high)}]" if np.isfinite(difference.ci_low) else ""
    return signed(difference.mean) + ends


def measure(study: StudyResults, metric: str) -> Term:
    """A metric without its set: `association bias`; a pattern such as `bias/*/rb` will do."""
    return Term(known_metrics().title(metric, metric in study.people), metric)


def metric(study: StudyResults, path: str) -> Term:
    """A metric of a study in words, see `metric_name`."""
    return metric_name(path, path in study.people)


def metric_name(path: str, people: bool = False) -> Term:
    """A metric in words: `association bias on world_people`.

    A pattern's set is "any set". Metrics of the training, which have no set, are called by their own words.
    """
    on = path.partition("/")[2].rpartition("/")[0]
    where = {"": "", "*": " on any set"}.get(on, f" on {on}")
    return Term(f"{known_metrics().title(path, people)}{where}", path)


def all_runs(study: StudyResults, path: str) -> str:
    """Format a metric of all runs: ``association bias on people: baseline 0.280 [0.250, 0.310], m4 ...``."""
    estimates = ((run.name, study.estimate(run.name, path)) for run in study.runs)
    values = ", ".join(f"{study.run_title(name)} {interval(estimate)}" for name, estimate in estimates if estimate)
    return f"{metric(study, path)}: {values}"


def in_words(study: StudyResults, text: str) -> Markup:
    """HTML of a sentence of an earlier stage: its metrics in words, their paths as tooltips; runs by their titles."""
    first = study.runs[0].name
    if (title := study.run_title(first)) != first:
        text = re.sub(rf"\b(against|of|from) {re.escape(first)}(?=$|[:;,. ])", rf"\1 {title}", text)
    parts, end = [], 0
    for match in _PATH.finditer(text):
        path = match[0]
        parts += [
            escape(text[end : match.start()]),
            Markup('<span class="term" title="{}">{}</span>').format(path, metric(study, path)),
        ]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def label(column: str) -> str:
    """Describe a label column; attributes read from captions or images are marked as perceived.

    >>> label("sensitive.gender.woman"), label("target.nurse"), label("proxy.hospital")
    ('perceived gender: woman', 'nurse', 'hospital (proxy)')
    >>> label("image.sensitive.gender.woman")
    'perceived gender: woman (in the image)'
    """
    parsed = LabelColumn.parse(column)
    if parsed.role == "sensitive":
        words = f"perceived {parsed.name.rpartition('.')[0]}: {parsed.value}"
    else:
        words = f"{parsed.name} (proxy)" if parsed.role == "proxy" else parsed.name
    return f"{words} ({_SIDES[parsed.side]})" if parsed.side else words


_SIDES = {"image": "in the image", "text": "in the caption"}


def strategy(name: str) -> str:
    """A balancing strategy as figures and tables show it.

    >>> strategy("none"), strategy("m4")
    ('no balancing', 'm4')
    """
    return "no balancing" if name == "none" else name


def short_group(name: str) -> str:
    """A group's short name as a figure shows it.

    >>> short_group("gender.woman"), short_group("image.gender.woman"), short_group("text.gender_unseen.man")
    ('woman', 'woman (image)', 'man (caption only)')
    """
    side, value = name.partition(".")[0], name.rpartition(".")[2]
    attribute = name.rpartition(".")[0]
    return short_label(f"{side}.{value}{'_unseen' * attribute.endswith('_unseen')}") if side in _SIDES else value


def short_label(name: str) -> str:
    """A label's short name as a figure shows it.

    >>> short_label("text.nurse"), short_label("text.nurse_unseen"), short_label("nurse")
    ('nurse (caption)', 'nurse (caption only)', 'nurse')
    """
    side, _, own = name.partition(".")
    if side not in _SIDES:
        return name
    if own.endswith("_unseen"):
        return f"{own.removesuffix('_unseen')} (caption only)"
    return f"{own} ({'caption' if side == 'text' else 'image'})"
