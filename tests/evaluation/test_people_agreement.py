"""Agreement of people who voted, by hand and against the package of Krippendorff's α."""

import krippendorff
import numpy as np
import pytest

from rewarddiff.data.votes import Vote
from rewarddiff.evaluation.people import people_agreement

NAN = np.nan
GRADES = [  # ann, bob, cy on five items
    [2, 1, 2],  # all for a
    [-1, -2, NAN],  # both for b
    [0, 1, -1],  # three outcomes
    [3, NAN, NAN],  # one vote: counts nothing
    [1, -1, NAN],
]


def votes() -> list[Vote]:
    """One vote for each grade; every second item was shown with its sides turned to cy."""
    said = []
    for item, grades in enumerate(GRADES):
        for who, grade in zip(("ann", "bob", "cy"), grades, strict=True):
            vote = Vote(
                f"prompt {item}", "x", "y", None if np.isnan(grade) else int(grade), who,
                item=str(item),
            )  # fmt: skip
            said.append(vote.swap() if who == "cy" and item % 2 == 0 else vote)
    return said


def test_agreement_of_people() -> None:
    agreement = people_agreement(votes())
    assert (agreement.who, agreement.raters, agreement.items) == ("people", 3, 4)
    assert agreement.full.value == pytest.approx(2 / 4)  # the first two of four
    by_rater = np.array(GRADES, dtype=float).T
    for level in ("ordinal", "interval"):
        expected = krippendorff.alpha(by_rater, level_of_measurement=level)
        assert getattr(agreement, level).value == pytest.approx(expected, abs=1e-12)
    outcomes = krippendorff.alpha(np.sign(by_rater), level_of_measurement="nominal")
    assert agreement.nominal.value == pytest.approx(outcomes, abs=1e-12)
