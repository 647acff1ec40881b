"""Contrasts, RB and AB by hand, and what cannot be measured."""

import numpy as np
import pytest

from evenclip.bias import Group, bias_of_masses, make_contrasts, masses, model_associations
from evenclip.errors import InputError

ALL = np.ones(6, bool)
WOMAN = np.array([1, 1, 0, 0, 0, 0], bool)
MAN = np.array([0, 0, 1, 1, 1, 0], bool)
NURSE = np.array([1, 0, 1, 0, 0, 1], bool)[:, None]
PAIR = [Group("gender", "gender.woman", WOMAN, ALL), Group("gender", "gender.man", MAN, ALL)]


def bias_of(contrasts, labels, weight):
    return bias_of_masses(*masses(contrasts, labels, weight), np.array([c.target for c in contrasts]))


def test_signed_pair_is_compared_among_rows_with_one_group():
    (contrast,) = make_contrasts(PAIR, "auto", {"gender.man": 0.6})
    assert contrast.coding == "signed" and contrast.target == pytest.approx(0.4)
    bias = bias_of([contrast], NURSE, np.ones(6))
    assert bias.share[0] == pytest.approx(2 / 5) and bias.rb == pytest.approx(0)
    assert bias.association[0, 0] == pytest.approx(1 / 2 - 1 / 3) == bias.ab


def test_one_hot_groups_share_what_the_attribute_covers():
    woman, man = make_contrasts(PAIR, "one_hot", {})
    assert woman.target == man.target == pytest.approx(5 / 6 / 2)
    assert (woman.outside == ~WOMAN).all() and (man.outside == ~MAN).all()


def test_cells_with_counts_have_the_bias_of_their_rows():
    count = np.array([3, 1, 2, 5, 1, 4])
    rows = np.repeat(np.arange(6), count)
    groups = [Group(g.attribute, g.name, g.is_shown[rows], g.is_known[rows]) for g in PAIR]
    for coding in ("signed", "one_hot"):
        of_cells = bias_of(make_contrasts(PAIR, coding, {}, count), NURSE, count.astype(float))
        of_rows = bias_of(make_contrasts(groups, coding, {}), NURSE[rows], np.ones(len(rows)))
        assert of_cells.rb == of_rows.rb and of_cells.ab == of_rows.ab


def test_group_that_vanished_has_no_association():
    contrasts = make_contrasts(PAIR, "signed", {})
    bias = bias_of(contrasts, NURSE, np.where(WOMAN, 0.0, 1.0))
    assert bias.share[0] == 0 and bias.rb == 0.5  # the share is defined: nobody of the group is left
    assert np.isnan(bias.association).all() and np.isnan(bias.ab)


def test_bias_is_undefined_where_nothing_is_left_to_compare():
    bias = bias_of(make_contrasts(PAIR, "signed", {}), NURSE, np.where(WOMAN | MAN, 0.0, 1.0))
    assert np.isnan(bias.rb) and np.isnan(bias.ab)


def test_maxima_leave_out_contrasts_that_do_not_count():
    inside, outside = np.array([[3.0, 1], [1, 1]]), np.array([[1.0, 0], [1, 0]])
    target, counted = np.array([0.5, 0.5]), np.array([False, True])
    assert bias_of_masses(inside, outside, target, counted).rb == 0.0
    assert bias_of_masses(inside, outside, target).rb == 0.25


def test_two_groups_have_one_model_association():
    means = np.array([[0.2], [0.4], [0.9]])
    assert model_associations(means[:2], np.array([1, 3])) == pytest.approx(np.array([[-0.2]]))
    against_rest = model_associations(means, np.array([1, 1, 2]))
    assert against_rest[:, 0] == pytest.approx([0.2 - 2.2 / 3, 0.4 - 2.0 / 3, 0.9 - 0.3])


@pytest.mark.parametrize(
    ("coding", "target", "message"),
    [("auto", {"gender.person": 0.5}, "unknown group"), ("auto", {"gender": 0.4}, "must share 1")],
)
def test_targets_that_make_no_sense_are_refused(coding, target, message):
    with pytest.raises(InputError, match=message):
        make_contrasts(PAIR, coding, target)
