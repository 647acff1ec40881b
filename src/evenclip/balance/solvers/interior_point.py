"""A primal-dual interior-point method for M4's programme: second order, with cost O(cells) + O(moments^3) a step.

Solves, over weights q of cells (expectations weigh cells by their counts) and, if ``retention`` is None, over eta,

    min  h/2 E[(q - t)^2] - (1 - h) eta + V sum_j z_j
    s.t. |E[q a_j]| <= eta eps_j + z_j,   E[q] = eta,   0 <= q <= Q,   z >= 0       (z = 0 where V is infinite)

with h = 1 (M4) or h = 0 (the largest feasible retention, a linear programme).

Newton's system is condensed to one unknown per moment: the diagonal part (cells and slacks) is eliminated in closed
form. Predictor and corrector follow Mehrotra (SIAM J. Optim. 2(4), 1992). Symbols: nu = multipliers of the moments,
mu = multiplier of the mean, lower/upper = multipliers of 0 <= q <= Q, p and z = slacks, lam = their multipliers.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg import LinAlgError

from evenclip.balance.moments import Moments
from evenclip.balance.solvers.condensed_system import CondensedSystem
from evenclip.balance.solvers.iterate import Solution, State

MAX_STEPS = 150
_TO_BOUNDARY = 0.99
_LEAST_CENTRING = 0.05  # with less centring, steps stall if many small cells reach a bound at once
_CORRECTIONS = 3  # at most, a step
_LONG_STEP = 0.9  # steps as long as this are not corrected
_LONGER = 0.3  # how much longer steps are to become by a correction; a tenth of it, both added, makes it worth while
_OUTLYING = 0.1  # products below this share of their goal are corrected, and those above its reciprocal
_REFINED_BELOW = 1e-4  # merit below which directions need all digits
_GIVEN_UP = 1e6  # stop, because of rounding errors, if the merit is this many times the best


def interior_point(
    moments: Moments,
    cap: float,
    retention: float | None,
    price: float = np.inf,
    tolerances: Sequence[float] = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10),
    stop: Callable[[Solution], bool] = lambda solution: False,
) -> Iterator[Solution]:
    """Solve the programme of the module's docstring with t = eta u; yield the best iterate at each tolerance.

    Parameters
    ----------
    moments : Moments
    cap : float
        Q.
    retention : float or None
        eta in (0, Q); None: maximise it.
    price : float
        V; infinite = hard constraints.
    tolerances : sequence of float
        In decreasing order; for the mean complementarity, relative to the objective, and for the violation of the
        constraints. The last iterate yielded is the best one, even if it does not reach the last tolerance.
    stop : callable
        Called with each iterate; true = stop.
    """
    with np.errstate(all="ignore"):  # the last steps may overflow: the best iterate is kept, and callers certify it
        yield from _iterate(State(moments, cap, retention, price), list(tolerances), stop)


def _iterate(state: State, tolerances: list[float], stop: Callable[[Solution], bool]) -> Iterator[Solution]:
    best, best_merit = state, np.inf
    for step in range(MAX_STEPS):
        merit = state.merit
        if merit < best_merit:
            best, best_merit = state, merit
        while tolerances and best_merit <= tolerances[0]:
            tolerances.pop(0)
            if not tolerances or best_merit > tolerances[0]:
                yield best.solution(step)
        if not tolerances:
            return
        if not np.isfinite(merit) or merit > _GIVEN_UP * best_merit or stop(state.solution(step)):
            break
        try:
            state = _next(state)
        except LinAlgError:
            break
    yield best.solution(step)


def _next(state: State) -> State:
    """One step: predictor, corrector, and corrections of outlying products; all share a factorisation.

    A few cells that reach a bound would hold back all others. Corrections pull their products back to the goal, as long
    as that makes steps longer (Gondzio, Computational Optimization and Applications 6, 1996).
    """
    system, refined = CondensedSystem(state), state.merit < _REFINED_BELOW
    now, mean = state.products(), state.complementarity()
    affine = system.direction([-product for product in now])
    length = min(state.largest_steps(affine, 1.0))
    reached = state.moved(affine, length, length).complementarity() / mean
    goals = state.goals(max(reached**6, _LEAST_CENTRING) * mean)
    # a short predictor step says little about the curvature ahead: its second-order terms are scaled by its length
    terms = zip(goals, now, affine.products(), strict=False)  # without a price, there is no fourth
    changes = [goal - product - length**2 * second for goal, product, second in terms]
    direction = system.direction(changes, refined)
    steps = state.largest_steps(direction, _TO_BOUNDARY)
    for _ in range(_CORRECTIONS):
        if min(steps) > _LONG_STEP:
            break
        tried = state.moved(direction, *(min(1.0, step + _LONGER) for step in steps)).products()
        changes = [
            change + np.maximum(np.clip(product, goal * _OUTLYING, goal / _OUTLYING) - product, -goal / _OUTLYING)
            for change, product, goal in zip(changes, tried, goals, strict=True)
        ]
        corrected = system.direction(changes, refined)
        longer = state.largest_steps(corrected, _TO_BOUNDARY)
        if sum(longer) < sum(steps) + _LONGER / 10:
            break
        direction, steps = corrected, longer
    return state.moved(direction, *steps).dual_feasible()
