"""`bench` is not installed: make the repository root importable for its tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
