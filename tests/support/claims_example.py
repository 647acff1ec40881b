"""A claim and the runs of a made-up study, for the tests of claims."""

from evenclip.summarize.claims import Claim
from evenclip.summarize.roles import RunFacts

M4 = {"balance.strategy": "m4"}
NONE = {"balance.strategy": "none"}


def claim(**changes) -> Claim:
    values = {"id": "c", "name": "N", "source": "S", "statement": "T", "kind": "lower", "metric": "bias/*/rb",
              "run": M4, "reference": NONE}  # fmt: skip
    return Claim.parse(values | changes, "claims")


def facts(name: str, strategy: str = "none", proxies: bool = False, eps: float = 0.1, **train) -> RunFacts:
    balance = {"strategy": strategy, "proxies": proxies, "eps_rel": eps}
    return RunFacts.of(name, balance=balance, train={"lr": 1e-3, "objective": "clip", "simclip": None} | train)


RUNS = [
    facts("base"),
    facts("even", "m4", eps=0.01),
    facts("even_wide", "m4", proxies=True),
    facts("even_sig", "m4", objective="siglip"),
    facts("sig", objective="siglip"),
    facts("similar", simclip={"share": 0.5, "online": True}),
    facts("even_similar", "m4", simclip={"share": 0.5, "online": True}),
    facts("fast", lr=1.0),
]
