"""Neighbours: exact ones equal a scan of all, indexed ones nearly; nobody is a neighbour of itself."""

import numpy as np
import pytest

from evenclip.train.methods.simclip import Neighbours
from support.vectors import brute_force, unit_rows


def test_exact_neighbours_equal_a_scan_of_all_nearest_first():
    features, rows = unit_rows(300, 16), np.array([5, 0, 299])
    np.testing.assert_array_equal(Neighbours(features, 0).search(rows, 20), brute_force(features, rows, 20))


def test_indexed_neighbours_are_nearly_all_found():
    features, rows = unit_rows(4000, 64), np.arange(0, 4000, 20)
    neighbours, truth = Neighbours(features, 0, exact_below=100).search(rows, 16), brute_force(features, rows, 16)
    recall = np.mean([len(set(a) & set(b)) / 16 for a, b in zip(neighbours, truth, strict=True)])
    assert recall >= 0.95
    again = Neighbours(features, 0, exact_below=100).search(rows, 16)
    np.testing.assert_array_equal(neighbours, again)


@pytest.mark.parametrize("exact_below", [10, 1000])
def test_no_pair_is_its_own_neighbour_even_among_duplicates(exact_below: int):
    features = np.repeat(unit_rows(100, 16), 3, axis=0)
    neighbours = Neighbours(features, 0, exact_below).search(np.arange(300), 4)
    assert (neighbours != np.arange(300)[:, None]).all()
    assert (neighbours[:, :2] // 3 == np.arange(300)[:, None] // 3).mean() > 0.95


def test_where_there_are_no_more_the_rest_is_marked():
    features = unit_rows(4, 8)
    neighbours = Neighbours(features, 0).search(np.array([2]), 5)
    assert neighbours[0, 3:].tolist() == [-1, -1] and set(neighbours[0, :3]) == {0, 1, 3}
