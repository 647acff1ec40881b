"""Summarize a study over seeds, test the differences between its runs, and judge the claims about its methods.

Reads what the stages before left of the named runs and seeds in `results/<study>/`, and `config/claims.yaml`; writes
`results/<study>/{summary.csv,tests.csv,claims.json,metrics.json,study.json}`. Command: `evenclip summarize`.
"""

from evenclip.summarize.run import summarize_study

__all__ = ["summarize_study"]
