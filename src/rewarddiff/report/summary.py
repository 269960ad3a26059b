"""The tables that stand at the head of the page, and at the end of a run."""

from dataclasses import replace

from rewarddiff.report.cells import Table
from rewarddiff.report.policy_tables import contrasts_table, policies_table
from rewarddiff.report.scorer_tables import scorer_contrasts_table, scorers_table
from rewarddiff.report.statements import over_seeds
from rewarddiff.results import Results


def overview(results: Results) -> list[Table]:
    """Return what stands at the head of the page: scorers, and policies."""
    tables = (scorers_table(results), scorer_contrasts_table(results), policies_table(results))
    return [table for table in tables if table.rows]


def summary_tables(results: Results) -> list[Table]:
    """Return what the end of a run shows; of several seeds, contrasts over all of them."""
    contrasts = contrasts_table(replace(results, contrasts=tuple(over_seeds(results))))
    tables = overview(results)
    if contrasts.rows:
        tables.append(contrasts)
    return tables
