"""A study's figures and page: `evenclip report --results results/demo --out results/demo/report.html`.

Reads `results/<study>/` and, for the sample grid, the training data folder; writes the
self-contained page, and beside it `figures/*.png`.
"""

from evenclip.report.page import write_report

__all__ = ["write_report"]
