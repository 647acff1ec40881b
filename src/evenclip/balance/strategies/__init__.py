"""The strategies of balancing, a family found by existing: each module weighs cells in its own way.

See `evenclip.balance.strategies.base` for what a strategy is given and returns.
"""

from evenclip.balance.groups import check_contrasts, contrasts_of
from evenclip.balance.moments import build_moments
from evenclip.balance.options import BalanceOptions
from evenclip.balance.strategies.base import Balanced, Problem
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
    contrasts = contrasts_of(cells, options.attribute_coding, options.target)
    check_contrasts(cells, contrasts, where)
    problem = Problem(cells, contrasts, build_moments(cells, contrasts, options), options, seed)
    return Balanced(problem, STRATEGIES[options.strategy].weigh(problem))
