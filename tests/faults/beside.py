"""What scripts of this folder import first: helpers of the tests are found, and nothing asks a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FAULTS = Path(__file__).parent

for name, value in {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)
sys.path[:0] = [str(FAULTS.parent), str(FAULTS.parent / "scorers"), str(FAULTS.parents[1])]
