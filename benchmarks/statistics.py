"""Type I error and power of the whole procedure behind verdicts, over simulated studies.

A study has a baseline and 12 runs, each with a primary claim that it lowers a metric, and looks after 8, 16 and 24
seeds. Seeds move all runs alike (correlation 0.5). Some runs have an effect, measured in standard deviations of the
difference; the last run may be two or three times as noisy as the others. Every verdict goes through `judge`, with
gates, looks and Holm's adjustment, as in a real study.

    python -m benchmarks.statistics
"""

from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.measuring import begin, size, write_rows
from evenclip.summarize.claims import Claim
from evenclip.summarize.evidence import Scale
from evenclip.summarize.inference import RunsBySeeds
from evenclip.summarize.roles import RunFacts
from evenclip.summarize.verdicts import judge

N_RUNS = 12
LOOKS = (8, 16, 24)
SD, BASELINE = 0.01, 0.5  # of a run over seeds; the baseline's mean
METRIC = "bias/set/ab_max"


@dataclass(frozen=True)
class Scenario:
    """Simulated studies; ``effects`` runs have a true ``effect`` in standard deviations of the difference."""

    name: str
    effects: int = 0
    effect: float = 0.0
    noise: float = 1.0
    floor: float = 0.2


SCENARIOS = (
    Scenario("no effect, equal noise"),
    Scenario("no effect, one run twice as noisy", noise=2),
    Scenario("no effect, one run three times as noisy", noise=3),
    Scenario("no effect, baseline at the border of its gate", floor=BASELINE - 0.05),
    Scenario("effect of 1 sd in 6 of 12 runs", 6, 1.0),
    Scenario("effect of 1.5 sd in 6 of 12 runs", 6, 1.5),
    Scenario("effect of 2 sd in 6 of 12 runs", 6, 2.0),
    Scenario("effect of 2 sd in 6 of 12 runs, the last three times as noisy", 6, 2.0, 3),
)


@dataclass(frozen=True)
class Rates:
    """What happened in the simulated studies of one scenario after one look.

    ``any_false``: share of studies with a false verdict; ``false``: share of claims without an effect that are decided;
    ``found``: share of effects that are found; ``wrong_side``: share of effects whose opposite is found.
    """

    scenario: str
    seeds: int
    studies: int
    any_false: float
    false: float
    found: float | None
    wrong_side: float | None


def simulate(scenario: Scenario, n_studies: int, seed: int = 0) -> list[Rates]:
    """Rates after each look."""
    strategies = ["none", *(f"s{i}" for i in range(N_RUNS))]
    runs = [RunFacts.of(name, balance={"strategy": name}) for name in strategies]
    claims = [
        Claim(
            id=f"c{i}",
            name="n",
            source="s",
            statement="t",
            kind="lower",
            metric=METRIC,
            run={"balance.strategy": f"s{i}"},
            reference={"balance.strategy": "none"},
        )
        for i in range(N_RUNS)
    ]
    primary = {claim.id: METRIC for claim in claims}
    rng = np.random.default_rng([seed, SCENARIOS.index(scenario)])
    scale = np.where(np.arange(N_RUNS + 1) < N_RUNS, 1.0, scenario.noise)
    # of a difference: the seed's common part (half of the variance) cancels
    of_difference = SD * np.sqrt(0.5 * (scale[1:] ** 2 + 1))
    effects = np.where(np.arange(N_RUNS) < scenario.effects, -scenario.effect * of_difference, 0.0)
    true = effects != 0
    decided = np.zeros((n_studies, len(LOOKS), N_RUNS), dtype="U16")
    for study in range(n_studies):
        common = rng.normal(0, SD * np.sqrt(0.5), LOOKS[-1])
        values = BASELINE + np.append(0, effects)[:, None] + common
        values += scale[:, None] * rng.normal(0, SD * np.sqrt(0.5), (N_RUNS + 1, LOOKS[-1]))
        for look, n_seeds in enumerate(LOOKS):
            table = RunsBySeeds(dict(zip(strategies, values[:, :n_seeds].tolist(), strict=True)))
            entries = judge(claims, runs, {METRIC: table}, (), {METRIC: Scale(scenario.floor)}, LOOKS, primary)
            decided[study, look] = [entry["verdict"] for entry in entries]
    wrong = np.isin(decided, ["supported", "refuted"]) & ~true | (decided == "refuted") & true
    return [
        Rates(
            scenario.name,
            n_seeds,
            n_studies,
            float(wrong[:, look].any(1).mean()),
            float(wrong[:, look][:, ~true].mean()),
            float((decided[:, look][:, true] == "supported").mean()) if true.any() else None,
            float((decided[:, look][:, true] == "refuted").mean()) if true.any() else None,
        )
        for look, n_seeds in enumerate(LOOKS)
    ]


def main() -> None:
    """Simulate all scenarios and write their rates."""
    chosen, out = begin(["all"])
    rates = [asdict(rate) for scenario in SCENARIOS for rate in simulate(scenario, size(2000, 5))]
    assert chosen == ["all"]
    write_rows(out / "statistics.csv", rates)


if __name__ == "__main__":
    main()
