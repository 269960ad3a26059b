"""What a recipe takes before it runs: tokens, work, memory, time, disk, calls and their price."""

from rewarddiff.pipeline.planning.fitting import check_fits
from rewarddiff.pipeline.planning.longest import (
    check_longest,
    check_onlines_rows,
    check_policys_rows,
    check_scorers_rows,
)
from rewarddiff.pipeline.planning.plan import Plan, plan_recipe
from rewarddiff.pipeline.planning.table import plan_table

__all__ = [
    "Plan",
    "check_fits",
    "check_longest",
    "check_onlines_rows",
    "check_policys_rows",
    "check_scorers_rows",
    "plan_recipe",
    "plan_table",
]
