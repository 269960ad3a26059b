"""The data's own coefficients: `coefficient: {source: column}`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from rewarddiff.coefficients import CoefficientConfig, weights_of_data
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group


def group(*coefficients: float | None) -> Group:
    comparisons = [Comparison(0, 1, None, coefficient) for coefficient in coefficients]
    return Group("g", "P", ("a", "b"), comparisons=tuple(comparisons), source="f:1")


COLUMN = CoefficientConfig(source="column")


def test_the_column_is_taken_as_it_is() -> None:
    tie = Group("t", "P", ("a", "b"), comparisons=(Comparison(0, 1, 0.0, 9.0),))
    result = weights_of_data([group(2.0, 0.5), tie, group(0.0)], COLUMN)
    assert [weights.tolist() for weights in result.weights] == [[2.0, 0.5], [], [0.0]]
    baseline = weights_of_data([group(2.0, 0.5)], replace(COLUMN, alpha=0))
    assert baseline.weights[0].tolist() == [1.0, 1.0]
    constant = weights_of_data([group(2.0, 1.0)], replace(COLUMN, control="constant"))
    assert constant.weights[0].tolist() == [1.5, 1.5]
    signed = weights_of_data([group(-1.0, 1.0)], replace(COLUMN, negative="signed"))
    assert signed.weights[0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ((1.0, None), "f:1 has no coefficient"),
        ((1.0, -1.0), "1 of the data's are negative"),
        ((0.0, 0.0), "every weight is 0"),
    ],
)
def test_columns_that_cannot_be_weights_are_refused(
    coefficients: tuple[float | None, ...], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        weights_of_data([group(*coefficients)], COLUMN)


@pytest.mark.parametrize(
    "options", [{"alpha": 2}, {"negative": "abs"}, {"squash": "tanh"}, {"calibrated": True}]
)
def test_what_is_of_differences_goes_with_no_column(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=f"coefficient.{name}: "):
        CoefficientConfig(source="column", **options)
