"""Paired comparison of all pairs of runs in all metrics: intervals, tests, effect sizes and power."""

import itertools
from collections.abc import Hashable
from typing import Any, TypeVar

from evenclip.summarize.inference import LEVEL, RunsBySeeds
from evenclip.summarize.multiplicity import holm

TESTS_COLUMNS = (
    "metric", "run_a", "run_b", "statistic", "p", "p_holm", "effect", "ci_low", "ci_high", "df", "p_t", "p_t_holm",
    "hedges_g", "rank_biserial", "detectable", "n",
)  # fmt: skip

Metric = TypeVar("Metric", bound=Hashable)


def runs_by_seeds(values: dict[str, list[dict[Metric, float]]]) -> dict[Metric, RunsBySeeds]:
    """Arrange values by metric, run and seed; only runs that have a metric in every seed are included.

    Parameters
    ----------
    values : dict
        run -> one {metric: value} per seed, seeds in the same order in all runs.
    """
    tables = {}
    for metric in dict.fromkeys(metric for seeds in values.values() for of_seed in seeds for metric in of_seed):
        complete = {run: seeds for run, seeds in values.items() if all(metric in of_seed for of_seed in seeds)}
        if complete:
            tables[metric] = RunsBySeeds(
                {run: [of_seed[metric] for of_seed in seeds] for run, seeds in complete.items()}
            )
    return tables


def compare_runs(by_metric: dict[str, RunsBySeeds]) -> list[dict[str, Any]]:
    """Compare every pair of runs in every metric that both have; one dictionary with `TESTS_COLUMNS` each.

    effect = mean over seeds of run_b - run_a. ci_low, ci_high, df and p_t (two-sided): Student's t
    (`RunsBySeeds.difference`). statistic and p: Wilcoxon's signed-rank test, two-sided, None below 6 seeds.
    p_holm, p_t_holm: adjusted over the pairs of runs within one metric, not over metrics. hedges_g and rank_biserial:
    effect sizes. detectable: smallest true difference that these seeds would show with 80 % power at Holm's strictest
    level, 5 % / number of pairs.
    """
    rows = []
    for metric, table in by_metric.items():
        pairs = list(itertools.combinations(table.runs, 2))
        family = [_compare(metric, table, *pair, LEVEL / len(pairs)) for pair in pairs]
        for p in ("p", "p_t"):
            tested = [row for row in family if row[p] is not None]
            for row, adjusted in zip(tested, holm([row[p] for row in tested]), strict=True):
                row[f"{p}_holm"] = adjusted
        rows += family
    return rows


def _compare(metric: str, table: RunsBySeeds, run_a: str, run_b: str, strictest: float) -> dict[str, Any]:
    difference = table.difference(run_b, run_a)
    low, high = difference.interval()
    statistic, p = table.wilcoxon(run_b, run_a)
    return {
        "metric": metric, "run_a": run_a, "run_b": run_b, "statistic": statistic, "p": p, "p_holm": None,
        "effect": difference.estimate, "ci_low": low, "ci_high": high, "df": difference.df,
        "p_t": difference.p_outside(0) if difference.testable else None, "p_t_holm": None,
        "hedges_g": table.hedges_g(run_b, run_a), "rank_biserial": table.rank_biserial(run_b, run_a),
        "detectable": difference.detectable(strictest), "n": table.n_seeds,
    }  # fmt: skip
