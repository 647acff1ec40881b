"""Summary of a study over seeds, tests of the differences between its runs, and verdicts on claims.

Reads the outputs of earlier stages for the named runs and seeds in `results/<study>/`, and `config/claims.yaml`; writes
`results/<study>/{summary.csv,seeds.csv,tests.csv,claims.json,metrics.json,study.json}`. Command: `evenclip summarize`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenclip.summarize.run import summarize_study

__all__ = ["summarize_study"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from evenclip.summarize import run  # imports scipy.stats, half a second that a study's plan does without

    return getattr(run, name)
