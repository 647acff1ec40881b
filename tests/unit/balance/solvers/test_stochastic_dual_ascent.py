"""The paper's solver, a contestant of the benchmarks: its multipliers bound the optimum from below."""

import importlib.util

import numpy as np
import pyarrow as pa

from evenclip.balance import BalanceOptions
from evenclip.balance.moments import build_moments
from evenclip.balance.problem import contrasts_of
from evenclip.balance.solvers.exact import certify_multipliers, solve
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.source import Source
from support.project import ROOT


def test_stochastic_dual_ascent_approaches_the_optimum():
    path = ROOT / "benchmarks/contestants/stochastic_dual_ascent.py"
    spec = importlib.util.spec_from_file_location("stochastic_dual_ascent", path)
    contestant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contestant)
    rng = np.random.default_rng(0)
    a = rng.random(20_000) < 0.7
    table = pa.table({"sensitive.a.yes": a, "target.x": rng.random(len(a)) < 0.1 + 0.2 * a})
    cells = count_cells(Source(table), 8)
    options = BalanceOptions(eps_rel=0.2, eps_rep=0.02)
    moments = build_moments(cells, contrasts_of(cells, "auto", {}), cells.columns.target, options)
    dual = contestant.StochasticDual(moments.tolerance, 0.4, 1.0, 100.0, 1.0)
    values = (moments.signal[:, :, None] * moments.labels.toarray()[:, None, :]).reshape(len(cells), -1)
    for cell in contestant.examples(cells.count, 0):
        dual.update(values[cell], 1.0)
    weighting = certify_multipliers(moments, 0.4, 1.0, 100.0, dual.multiplier, dual.mean_multiplier)
    exact = solve(moments, 0.4, 1.0, 100.0)
    assert dual.seen == 20_000
    assert 0.5 * exact.objective < weighting.dual_bound <= exact.objective + 1e-9
