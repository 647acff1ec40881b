"""Balancing strategies: one module each, discovered automatically.

See `evenclip.balance.strategies.base` for what a strategy is given and returns.
"""

from evenclip.balance.options import BalanceOptions
from evenclip.balance.problem import make_problem
from evenclip.balance.strategies.base import Balanced
from evenclip.balance.table.cells import Cells
from evenclip.plugins import modules_of

STRATEGIES = modules_of(__name__)


def weigh(cells: Cells, options: BalanceOptions, seed: int, where: str) -> Balanced:
    """Weigh cells by ``options.strategy``; ``where`` names the table in errors.

    Raises
    ------
    InputError
        The table cannot be balanced, or the constraints cannot hold and ``allow_infeasible`` is off.
    """
    problem = make_problem(cells, options, seed, where)
    solution = STRATEGIES[options.strategy].weigh(problem)
    solution.plan.check_copies(options.max_copies)
    return Balanced(problem, solution)
