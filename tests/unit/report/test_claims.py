"""Lines of the report's list of claims."""

from evenclip.report.claims import claim_rows, verdict_counts


def entry_of(**changes) -> dict:
    """One row of claims.json."""
    entry = {"id": "c", "name": "N", "source": "S", "statement": "T", "kind": "lower", "margin": 0.0,
             "metric": "bias/s/rb", "runs": {"run": "a", "reference": "b"}, "estimate": 0.01, "ci_low": -0.01,
             "ci_high": 0.03, "df": 8, "against": None, "n": 8, "p": 0.3, "p_adjusted": 0.6, "level": 0.01,
             "adjusted_low": -0.02, "adjusted_high": 0.04, "detectable": 0.04, "primary": False, "stopping": None,
             "mark": None, "verdict": "undecided", "reason": None, "claim_verdict": "undecided"}  # fmt: skip
    return entry | changes


def test_an_undecided_test_says_what_would_have_been_decided():
    (row,) = claim_rows([entry_of()])
    assert row.tests[0]["detail"] == (
        "d = 0.010 [-0.010, 0.030], 8 seeds, p 0.600, interval at that level [-0.020, 0.040];"
        " a true d 0.040 from 0 would be decided in 4 of 5 studies"
    )
    (row,) = claim_rows([entry_of(kind="not_lower", margin=0.02)])
    assert "a true d 0.040 from the margin would" in row.tests[0]["detail"]


def test_stopping_and_too_few_seeds_are_reported():
    stopping = {"looks": [8, 16], "state": "undecided: add seeds", "decided_at": None, "conditional_power": 0.42}
    (row,) = claim_rows([entry_of(stopping=stopping, primary=True)])
    assert row.primary and row.stopping.startswith("Undecided: add seeds (looked at after 8, 16 seeds; 42 % chance")
    few = {"n": 2, "p_adjusted": None, "detectable": None, "reason": "2 seeds, at least 8 needed"}
    (row,) = claim_rows([entry_of(**few)])
    assert row.tests[0]["detail"] == "d = 0.010 [-0.010, 0.030], 2 seeds; at least 8 needed"


def test_a_pareto_claim_shows_both_differences():
    against = {"metric": "zeroshot/s/acc1", "estimate": 0.2, "ci_low": 0.1, "ci_high": 0.3, "df": 8}
    (row,) = claim_rows([entry_of(kind="pareto", against=against, detectable=None)])
    assert row.tests[0]["metric"] == "bias/s/rb against zeroshot/s/acc1"
    assert row.tests[0]["detail"].startswith("d = 0.010 [-0.010, 0.030] and d = 0.200 [0.100, 0.300], 8 seeds")


def test_claims_are_counted_not_their_tests():
    rows = claim_rows([entry_of(), entry_of(metric="bias/t/rb"), entry_of(id="d", claim_verdict="refuted")])
    assert [len(row.tests) for row in rows] == [2, 1]
    assert verdict_counts(rows) == "1 refuted, 1 undecided"
