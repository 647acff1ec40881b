"""Love plots show the strongest pairs, and only differences that are defined."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from evenclip.balance.love_plot import draw_love_plot, names_of, strongest_pairs


def pair(label: str, before: float | None, after: float | None, status: str = "ok", group: str = "a.yes") -> dict:
    return {"group": group, "label": label, "status": status, "before": {"smd": before}, "after": {"smd": after}}


AUDIT = {
    "associations": [
        pair("x", 0.2, 0.1),
        pair("y", -0.5, None),
        pair("rare", 0.9, 0.9, status="insufficient"),
        pair("never", None, None),
        pair("z", 0.3, -0.05),
    ]
}


@pytest.mark.parametrize(("n", "labels"), [(9, ["y", "z", "x"]), (2, ["y", "z"])])
def test_the_strongest_defined_pairs_come_first(n, labels):
    assert [row["label"] for row in strongest_pairs(AUDIT, n)] == labels


def test_a_group_is_named_where_there_are_several():
    assert names_of([pair("x", 1, 1), pair("y", 1, 1)]) == ["x", "y"]
    assert names_of([pair("x", 1, 1), pair("x", 1, 1, group="a.no")]) == ["x (a.yes)", "x (a.no)"]


def test_a_difference_that_is_undefined_is_not_drawn_as_zero():
    axes = Figure().subplots()
    draw_love_plot(axes, strongest_pairs(AUDIT, 9), {"before": {"marker": "o"}, "after": {"marker": "s"}})
    before, after = (line.get_xdata() for line in axes.lines[:2])
    np.testing.assert_allclose(before, [0.5, 0.3, 0.2])
    np.testing.assert_allclose(after, [np.nan, 0.05, 0.1])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["y", "z", "x"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is at the top
