"""Summary of a study over seeds, tests of the differences between its runs, and verdicts on claims.

Reads the outputs of earlier stages for the named runs and seeds in `results/<study>/`, and `config/claims.yaml`; writes
`results/<study>/{summary.csv,seeds.csv,tests.csv,claims.json,metrics.json,study.json}`. Command: `evenclip summarize`.
"""

from typing import TYPE_CHECKING

from evenclip.late_names import late_names

if TYPE_CHECKING:
    from evenclip.summarize.run import summarize_study

__all__ = ["summarize_study"]

__getattr__ = late_names(__name__, summarize_study="run")
