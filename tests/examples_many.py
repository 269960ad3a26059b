"""How many examples hypothesis draws where a property is looked for in files and recipes of any kind.

REWARDDIFF_EXAMPLES=5000 pytest tests/data/test_any_rows.py tests/test_any_recipe.py    # new ones each time
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NAMED = os.environ.get("REWARDDIFF_EXAMPLES")

many = settings(
    max_examples=int(NAMED or 30),
    derandomize=NAMED is None,  # the same in every run of the suite
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
