"""evenclip: fair, knowledge-aware CLIP training as a reproducible workflow.

One sub-package or module per stage, named as its rule, its results folder and its config block:
data -> label -> balance -> train -> embed -> evaluate -> summarize -> track -> report.
"""

__version__ = "0.1.0"
