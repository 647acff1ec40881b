"""The balance stage: M4 weights with a certificate, baselines, and audits; without Snakemake and torch.

At run time it needs numpy, scipy, pyarrow, pydantic and PyYAML; rich for the progress of long reads, typer for the
commands, matplotlib for an audit's figures.

>>> from evenclip.balance import BalanceOptions, M4Balancer, audit, balance
"""

from evenclip.balance.audit import audit
from evenclip.balance.estimator import M4Balancer
from evenclip.balance.options import BalanceOptions
from evenclip.balance.run import balance
from evenclip.callable_package import make_callable

__all__ = ["BalanceOptions", "M4Balancer", "audit", "balance"]

make_callable(__name__, "api")
