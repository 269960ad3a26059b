"""Only weights that are the same for both outcomes of a pair leave the optimum where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import optimum


@pytest.mark.parametrize("p", [0.55, 0.7, 0.95])
def test_a_weight_symmetric_in_the_pair_keeps_the_optimum(p: float) -> None:
    assert optimum.weights("abs") == (1.0, 1.0)
    assert optimum.trained(p, optimum.weights("abs")) == pytest.approx(p, abs=1e-6)
    assert optimum.trained(p, optimum.weights("abs", d=3.0)) == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize("p", [0.55, 0.7, 0.95])
def test_a_weight_by_who_won_moves_it_as_derived(p: float) -> None:
    # logit of the optimum = log(w1·p / (w2·(1 − p))): with w2 = w1/4 the odds are four times those
    # of p.
    w = optimum.weights("floor")
    assert w == (1.0, 0.25)
    found = optimum.trained(p, w)
    assert found / (1 - found) == pytest.approx(4 * p / (1 - p), rel=1e-4)


def test_silencing_those_who_disagree_leaves_no_optimum() -> None:
    assert optimum.weights("clip") == (1.0, 0.0)
    assert optimum.weights("signed") == (1.0, -1.0)
    assert optimum.trained(0.55, optimum.weights("clip")) > 0.999
