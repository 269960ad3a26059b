"""What scripts of this folder import first: helpers of the tests are found, and nothing asks a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FAULTS = Path(__file__).parent

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(FAULTS.parent), str(FAULTS.parent / "scorers"), str(FAULTS.parents[1])]
