"""Where a scorer says nothing of some comparisons, the page says of how many."""

from dataclasses import replace

import report_example as example

from rewarddiff.report.page import page


def test_what_is_unscored_is_said_below_the_table_of_scorers() -> None:
    results = example.results()
    first, *others = results.scorers
    assert "comparisons are unscored" not in page(results)
    # 428 that are decided, 22 ties, and these 50
    some = replace(first, evaluation=replace(first.evaluation, unscored=50))
    html = page(replace(results, scorers=(some, *others)))
    said = f"{first.name}, seed {first.seed}: 50 of 500 comparisons are unscored, and in no figure."
    assert said in html
