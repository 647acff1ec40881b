"""The balance stage: M4 weights with a certificate, baselines, and audits; without Snakemake and torch.

At run time it needs numpy, scipy, pyarrow, pydantic and PyYAML; rich for the progress of long reads, typer for the
commands, matplotlib for an audit's figures.

>>> from evenclip.balance import BalanceOptions, M4Balancer, audit, balance
"""

from typing import TYPE_CHECKING

from evenclip.callable_package import make_callable
from evenclip.late_names import late_names

if TYPE_CHECKING:
    from evenclip.balance.auditing import audit
    from evenclip.balance.estimator import M4Balancer
    from evenclip.balance.options import BalanceOptions
    from evenclip.balance.run import balance

__all__ = ["BalanceOptions", "M4Balancer", "audit", "balance"]

__getattr__ = late_names(__name__, audit="auditing", M4Balancer="estimator", BalanceOptions="options", balance="run")
make_callable(__name__, "api")
