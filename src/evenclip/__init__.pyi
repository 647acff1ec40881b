from evenclip.balance.api import audit as audit
from evenclip.balance.api import balance as balance
from evenclip.evaluate.arrays import evaluate as evaluate

__version__: str
__all__ = ["__version__", "audit", "balance", "evaluate"]
