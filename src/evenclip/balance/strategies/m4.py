"""Multi-Modal Moment Matching (M4): equal groups, independent of the labels, with a certificate."""

from evenclip.balance.problem import Problem
from evenclip.balance.realise import Plan
from evenclip.balance.strategies.base import Solution, solve_moments


def weigh(problem: Problem) -> Solution:
    """Find the weights closest to the utilities that match the moments (arXiv 2403.04547, section 3)."""
    weighting, bound = solve_moments(problem.moments, problem.options)
    return Solution(Plan.of_weights(problem.cells.count, weighting.weight, problem.seed), weighting, bound)
