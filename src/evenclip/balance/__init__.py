"""The balance stage: M4 weights with a certificate, baselines, and audits; needs numpy, scipy and pyarrow only.

>>> from evenclip.balance import BalanceOptions, audit, balance
"""

from evenclip.balance.audit import audit
from evenclip.balance.options import BalanceOptions
from evenclip.balance.run import balance

__all__ = ["BalanceOptions", "audit", "balance"]
