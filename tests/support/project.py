"""Where the project and the real data sets are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that is tested."""
REAL_DATA = Path(os.environ.get("EVENCLIP_REAL_DATA", ROOT.parent / "shared" / "data"))
"""Folder of the real data sets in their official formats; tests skip where it is missing."""
