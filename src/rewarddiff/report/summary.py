"""The tables that stand at the head of the page, and at the end of a run."""

from dataclasses import replace

from rewarddiff.report.cells import Table
from rewarddiff.report.evidence import over_seeds
from rewarddiff.report.judge_tables import (
    canaries_table,
    leanings_table,
    panels_table,
    people_table,
    ranking_table,
    win_rates_summary,
)
from rewarddiff.report.policy_tables import contrasts_table, policies_table
from rewarddiff.report.scorer_tables import scorer_contrasts_table, scorers_table
from rewarddiff.results import Results


def overview(results: Results) -> list[Table]:
    """Return what stands at the head of the page: scorers, and policies."""
    tables = (
        scorers_table(results),
        scorer_contrasts_table(results),
        policies_table(results),
    )
    return [table for table in tables if table.rows]


def summary_tables(results: Results) -> list[Table]:
    """Return what the end of a run shows; of several seeds, contrasts over all of them."""
    contrasts = contrasts_table(replace(results, contrasts=tuple(over_seeds(results))))
    tables = overview(results)
    of_judges = (win_rates_summary(results), leanings_table(results), ranking_table(results))
    agreement = (panels_table(results), people_table(results))
    more = (contrasts, *of_judges, *agreement, canaries_table(results))
    return [*tables, *(table for table in more if table.rows)]
