"""What a new study balances: perceived groups and labels, from columns of the data or from words of the captions."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evenclip.errors import InputError
from evenclip.label.from_columns import is_flag_column
from evenclip.label.lexicon import Lexicon, Words
from evenclip.label_columns import check_spellings
from evenclip.study.survey import LONGEST_LIST, Survey

FEWEST = 10
"""A group or label that fewer pairs of the sample have is not proposed."""
COLUMNS_OF_GROUPS = ("gender", "sex", "age_group", "race", "ethnicity", "skin_tone", "class")
"""Names of columns that are taken for perceived groups without being asked for; `class` where there is no other."""
COLUMNS_OF_LABELS = ("occupation", "profession", "job", "class", "label", "category")
N_LABELS = 8


@dataclass(frozen=True)
class Choice:
    """Groups and labels of a study.

    Attributes
    ----------
    groups : dict of str to dict of str to int
        Attribute -> group -> pairs of the sample that show it.
    labels : dict of str to int
        Label -> pairs of the sample that have it.
    group_columns : dict of str to str
        Attribute -> its column, where the groups come from a column of the data.
    label_columns : list of str
        Columns of the data that say labels.
    lexicon : Lexicon
        Words of the groups and labels that captions name.
    """

    groups: dict[str, dict[str, int]]
    labels: dict[str, int]
    group_columns: dict[str, str]
    label_columns: list[str]
    lexicon: Lexicon


def choose(survey: Survey, shipped: Lexicon, attributes: Sequence[str], labels: Sequence[str]) -> Choice:
    """Choose groups and labels.

    Parameters
    ----------
    survey : Survey
    shipped : Lexicon
        Words that are looked for in the captions.
    attributes, labels : sequence of str
        Those that are asked for: columns of the data, or names of the lexicon, or, for labels, words. If there are
        none, what the sample shows is taken.

    Raises
    ------
    InputError
        There are no groups, or what is asked for is neither a column nor in the lexicon.
    """
    counts = survey.counts(shipped)
    named_groups = {
        attribute: {value: counts[f"sensitive.{attribute}.{value}"] for value in values}
        for attribute, values in shipped.sensitive.items()
    }
    chosen = list(attributes) or _visible_groups(survey, named_groups)
    columns = {attribute: attribute for attribute in chosen if attribute in survey.columns}
    groups: dict[str, dict[str, int]] = {}
    for attribute in chosen:
        if attribute in columns:
            groups[attribute] = _listed_values(survey, attribute, "--attribute")
        elif attribute in named_groups:
            groups[attribute] = {value: n for value, n in named_groups[attribute].items() if n}
        else:
            raise _unknown(attribute, "--attribute", [*survey.columns, *named_groups])
        if len(groups[attribute]) < 2:
            what = f"'{attribute}' has {len(groups[attribute])} groups in {survey.n} pairs"
            raise InputError(what, "--attribute", "name an attribute of which two groups are shown")
    words, label_columns, n_of = _choose_labels(survey, shipped, counts, labels, groups)
    if not n_of:
        hint = (
            f"say --label with a column or a word of the captions (columns: {', '.join(survey.columns) or 'none'}); "
            "to measure a model on classes, see docs/evaluate.md"
        )
        raise InputError("no labels are seen that groups could be balanced against", "init", hint)
    sensitive = {a: {v: shipped.sensitive[a][v] for v in groups[a]} for a in groups if a not in columns}
    # a lexicon has at least one label; where all come from columns, the first group's name is looked for too
    if not sensitive and not words:
        first = min(groups)
        sensitive = {first: {group: Words(words=[_plain(group)]) for group in groups[first] if _plain(group)}}
    lexicon = Lexicon(sensitive=sensitive, target=words)
    return Choice(groups, n_of, columns, label_columns, lexicon)


def _visible_groups(survey: Survey, named_groups: dict[str, dict[str, int]]) -> list[str]:
    """The first attribute that a column or captions show two groups of; `InputError` if there is none."""
    columns = [name for name in COLUMNS_OF_GROUPS if name in survey.columns and len(survey.values(name)) >= 2]
    columns = [name for name in columns if len(survey.values(name)) <= LONGEST_LIST]
    by_words = [name for name, groups in named_groups.items() if sum(n >= FEWEST for n in groups.values()) >= 2]
    for candidates in ([name for name in columns if name != "class"], by_words, columns):
        if candidates:
            return candidates[:1]
    hint = f"say --attribute COLUMN; columns: {', '.join(survey.columns) or 'none'}"
    raise InputError(f"no perceived groups are seen in columns or captions of {survey.n} pairs", "init", hint)


def _choose_labels(
    survey: Survey,
    shipped: Lexicon,
    counts: dict[str, int],
    asked: Sequence[str],
    groups: Mapping[str, Mapping[str, int]],
) -> tuple[dict[str, Words], list[str], dict[str, int]]:
    """Words of the labels that captions name, columns of the other labels, and how many pairs have each."""
    words: dict[str, Words] = {}
    columns = [name for name in asked if name in survey.columns] if asked else _visible_labels(survey, groups)
    n_of: dict[str, int] = {}
    for column in columns:
        values = _listed_values(survey, column, "--label")
        n_true = sum(n for value, n in values.items() if value.lower() in ("1", "true", "yes"))
        n_of |= {column: n_true} if is_flag_column(values) else values
    if asked:
        words = {name: shipped.target.get(name) or _words(name) for name in asked if name not in columns}
        for name in words.keys() - shipped.target.keys():
            if not survey.counts(Lexicon(target={name: words[name]}))[f"target.{name}"]:
                near = difflib.get_close_matches(name, [*survey.columns, *shipped.target], n=1)
                hint = f"did you mean '{near[0]}'?" if near else "name a column, or a word that captions have"
                raise InputError(f"'{name}' is no column, and no caption has it", "--label", hint)
    elif not columns:
        names = [name for name in shipped.target if counts[f"target.{name}"] >= FEWEST]
        frequent = sorted(names, key=lambda name: -counts[f"target.{name}"])[:N_LABELS]
        words = {name: shipped.target[name] for name in frequent}
        if len(words) < 2:
            words |= {
                word: _words(word) for word in survey.telling_words(shipped, groups, N_LABELS - len(words), FEWEST)
            }
        of_groups = {_plain(group) for values in groups.values() for group in values}
        words = {name: entry for name, entry in words.items() if name not in of_groups}
    if words:
        n_of |= {name.removeprefix("target."): n for name, n in survey.counts(Lexicon(target=words)).items()}
    return words, columns, n_of


def _visible_labels(survey: Survey, groups: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Columns of true and false, and the first column of labels, that are no groups."""
    values = {name: survey.values(name) for name in survey.columns if name not in groups}
    flags = [name for name in values if len(values[name]) == 2 and is_flag_column(values[name])]
    label_columns = [name for name in COLUMNS_OF_LABELS if 2 <= len(values.get(name, ())) <= LONGEST_LIST]
    return flags + [name for name in label_columns if name not in flags][:1]


def _words(name: str) -> Words:
    return Words.parse({"words": [_plain(name)]}, f"--label {name}")


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()


def _listed_values(survey: Survey, column: str, option: str) -> dict[str, int]:
    values = dict(sorted(survey.values(column).items()))
    if len(values) > LONGEST_LIST:
        what = f"column '{column}' has {len(values)} values"
        raise InputError(what, option, f"name one with at most {LONGEST_LIST}")
    check_spellings(values, f"column {column}")
    return values


def likely_misspellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare values that are spelt almost as a frequent one: the rare -> the frequent one."""
    rare, frequent = ([v for v, n in counts.items() if (n < FEWEST) == is_rare] for is_rare in (True, False))
    near = {value: difflib.get_close_matches(value, frequent, n=1, cutoff=0.85) for value in rare}
    return {value: matches[0] for value, matches in near.items() if matches}


def _unknown(name: str, option: str, names: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(names)}"
    return InputError(f"'{name}' is neither a column of the data nor in the lexicon", option, hint)
