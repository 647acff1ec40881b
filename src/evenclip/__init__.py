"""evenclip: fair, knowledge-aware CLIP training as a reproducible workflow.

One sub-package or module per stage, named as its rule, its results folder and its config block:
data -> label -> balance -> train -> embed -> evaluate -> summarize -> track -> report.

In Python, `evenclip.audit`, `evenclip.balance` and `evenclip.evaluate` take tables and arrays; see docs/python.md.
They are imported when they are first used.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "balance", "evaluate"]


def __getattr__(name: str):
    if name == "audit":
        return importlib.import_module("evenclip.balance.api").audit
    if name in __all__:
        return importlib.import_module(f"evenclip.{name}")
    raise AttributeError(f"module 'evenclip' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
