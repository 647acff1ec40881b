"""As many rows as m4 keeps at the same options, chosen blindly: tells "less data" from "balanced data"."""

from evenclip.balance.problem import Problem
from evenclip.balance.realise import Plan
from evenclip.balance.strategies.base import Solution, choose_retention


def weigh(problem: Problem) -> Solution:
    """Keep a random share of the rows of every cell, with weight 1."""
    retention, bound = choose_retention(problem.moments, problem.options)
    return Solution(Plan.of_subsample(problem.cells.count, retention, problem.seed), bound=bound)
