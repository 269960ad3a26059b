"""From differences to coefficients: every treatment, squash, normalisation and control, worked by
hand."""

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.differences import Differences
from rewarddiff.errors import UserError

DELTA = [4.0, -1.0, 9.0, 0.0, -16.0]
DIFFERENCES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-50, 50))


def coefficients(delta, config: CoefficientConfig, spreads=None) -> SimpleNamespace:
    """The result for one group of these differences; with spreads they are of two heads."""
    stated = Differences.of(delta)
    if spreads is not None:
        # Two values have the standard deviation |x − y|/√2.
        off = np.asarray(spreads) / math.sqrt(2)
        heads = np.stack([delta - off, delta + off], axis=1)
        stated = Differences(stated.pairs, heads, weights=(0.5, 0.5), ensemble=True)
    result = weigh([stated], config)
    (weights,), (flip,), (keep,) = result.weights, result.flip, result.keep
    return SimpleNamespace(weights=weights, flip=flip, keep=keep, report=result.report)


def test_scales_are_those_of_all_groups_together() -> None:
    """Weights 1, 3 and 8 have mean 4."""
    groups = [Differences.of([1.0]), Differences.of([]), Differences.of([3.0, 8.0])]
    result = weigh(groups, CoefficientConfig(normalise="mean"))
    assert [weights.tolist() for weights in result.weights] == [[0.25], [], [0.75, 2.0]]
    assert [keep.tolist() for keep in result.keep] == [[True], [], [True, True]]


@pytest.mark.parametrize(
    ("negative", "weights"),
    [
        ("clip", [2, 0, 3, 0, 0]),
        ("abs", [2, 1, 3, 0, 4]),
        ("flip", [2, 1, 3, 0, 4]),
        ("drop", [2, 0, 3, 0, 0]),
        ("floor", [2, 0.5, 3, 0.5, 0.5]),  # the floor ¼ is a difference: its root is ½
    ],
)
def test_treatments_of_negatives_under_a_square_root(negative: str, weights: list[float]) -> None:
    result = coefficients(DELTA, CoefficientConfig(alpha=0.5, negative=negative, floor=0.25))  # type: ignore[arg-type]
    assert result.weights.tolist() == weights
    assert result.flip.tolist() == [negative == "flip" and d < 0 for d in DELTA]
    assert result.keep.tolist() == [negative != "drop" or d >= 0 for d in DELTA]


def test_signed_leaves_the_differences_and_warns() -> None:
    result = coefficients(DELTA, CoefficientConfig(negative="signed"))
    assert result.weights.tolist() == DELTA
    assert result.report["warnings"] == ["2 negative weights: the loss has no lower bound"]


@pytest.mark.parametrize(
    ("squash", "scale", "weights"),
    [
        ("none", 1.0, [0, 1, 3]),
        ("clip", 2.0, [0, 1, 2]),
        (
            "tanh",
            2.0,
            [0, 2 * (math.e - 1) / (math.e + 1), 2 * (math.exp(3) - 1) / (math.exp(3) + 1)],
        ),
        ("log1p", 0.5, [0, 0.5 * math.log(3), 0.5 * math.log(7)]),
        ("sigmoid", 1 / math.log(3), [1 / 2, 3 / 4, 27 / 28]),  # odds 3^R: 1, 3 and 27
        ("rank", 1.0, [0, 1 / 2, 1]),
    ],
)
def test_squashes_by_hand(squash: str, scale: float, weights: list[float]) -> None:
    config = CoefficientConfig(squash=squash, squash_scale=scale)  # type: ignore[arg-type]
    np.testing.assert_allclose(coefficients([0.0, 1.0, 3.0], config).weights, weights, rtol=1e-12)


def test_clip_silences_a_contradicted_pair_under_every_squash() -> None:
    for squash in ("none", "clip", "tanh", "log1p", "sigmoid", "rank"):
        result = coefficients([-2.0, 1.0], CoefficientConfig(squash=squash))  # type: ignore[arg-type]
        assert result.weights[0] == 0 < result.weights[1]


def test_the_sigmoid_needs_no_treatment() -> None:
    # σ(−ln 3) = ¼ and σ(ln 3) = ¾; to the power 2, 1/16 and 9/16.
    config = CoefficientConfig(negative="signed", squash="sigmoid", alpha=2.0)
    result = coefficients([-math.log(3), math.log(3)], config)
    np.testing.assert_allclose(result.weights, [1 / 16, 9 / 16], rtol=1e-12)
    assert result.report["warnings"] == []


def test_ranks_share_ties() -> None:
    # Positive R: 5, 5, 8 take places 1, 2, 3 of 3, the two fives 1½ each.
    assert coefficients(
        [5.0, -7.0, 8.0, 5.0], CoefficientConfig(squash="rank")
    ).weights.tolist() == [0.5, 0, 1, 0.5]


def test_lower_bounds_by_hand() -> None:
    """At z = 2 the differences 4, 3, 1, −1 with spreads ½, 2, 0, ¼ count as 3, −1, 1, −1.5; their
    roots by clip."""
    delta, spreads = [4.0, 3.0, 1.0, -1.0], [0.5, 2.0, 0.0, 0.25]
    clip = coefficients(delta, CoefficientConfig(lower=2.0, alpha=0.5), spreads)
    np.testing.assert_allclose(clip.weights, [math.sqrt(3), 0, 1, 0])
    assert not clip.flip.any()
    assert clip.report["share_negative"] == 0.25  # the scorer contradicts one label
    assert clip.report["share_doubted"] == 0.25  # and doubts another
    assert clip.report["spread"]["mean"] == pytest.approx(2.75 / 4)
    drop = coefficients(delta, CoefficientConfig(lower=2.0, negative="drop"), spreads)
    assert drop.keep.tolist() == [True, False, True, False]
    floor = coefficients(delta, CoefficientConfig(lower=2.0, negative="floor", floor=0.1), spreads)
    np.testing.assert_allclose(floor.weights, [3, 0.1, 1, 0.1])


@given(DIFFERENCES, st.floats(0, 3), st.floats(0, 2))
def test_more_doubt_never_weighs_more(delta: np.ndarray, z: float, more: float) -> None:
    assume((delta - (z + more) * 2 > 0).any())
    spreads = np.abs(np.sin(delta)) * 2
    less, least = (
        coefficients(delta, CoefficientConfig(lower=own), spreads).weights for own in (z, z + more)
    )
    assert (least <= less).all()


def test_no_lower_bound_is_no_change() -> None:
    plain, beside = (
        coefficients(DELTA, CoefficientConfig()),
        coefficients(DELTA, CoefficientConfig(), [1.0] * 5),
    )
    assert (plain.weights == beside.weights).all()


def test_what_a_lower_bound_needs() -> None:
    with pytest.raises(UserError, match=r"coefficient\.lower: needs the spread"):
        coefficients(DELTA, CoefficientConfig(lower=1.0))
    with pytest.raises(UserError, match="make lower smaller"):
        coefficients(DELTA, CoefficientConfig(lower=9.0), [9.0] * 5)
    for negative in ("abs", "flip", "signed"):
        with pytest.raises(UserError, match=f"negative={negative} would take doubt for strength"):
            CoefficientConfig(lower=1.0, negative=negative)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"coefficient\.lower: must be finite and at least 0"):
        CoefficientConfig(lower=-1.0)


def test_normalise_by_hand() -> None:
    # Kept weights 1, 0, 5: mean 2; population variance (1 + 25)/3 − 4 = 14/3.
    delta = [1.0, -1.0, 5.0]
    mean = coefficients(delta, CoefficientConfig(normalise="mean")).weights
    np.testing.assert_allclose(mean, [0.5, 0, 2.5])
    std = coefficients(delta, CoefficientConfig(normalise="std")).weights
    np.testing.assert_allclose(std, np.array([1, 0, 5]) / math.sqrt(14 / 3))


def test_dropped_pairs_do_not_count_towards_the_mean() -> None:
    result = coefficients([1.0, -1.0, 5.0], CoefficientConfig(negative="drop", normalise="mean"))
    np.testing.assert_allclose(result.weights, [1 / 3, 0, 5 / 3])
    np.testing.assert_allclose(result.report["after"]["mean"], 1.0)


def test_controls_by_hand() -> None:
    delta = [1.0, 6.0, -1.0, 2.0, 1.0]  # clipped: 1, 6, 0, 2, 1; mean 2
    constant = coefficients(delta, CoefficientConfig(control="constant")).weights
    assert constant.tolist() == [2, 2, 2, 2, 2]
    # Falling 6, 2, 1, 1, 0 dealt to the rising order 0 | 1, 1 | 2 | 6: the two ones share 2 and 1.
    inverse = coefficients(delta, CoefficientConfig(control="inverse")).weights
    assert inverse.tolist() == [1.5, 0, 6, 1, 1.5]


@given(DIFFERENCES, st.sampled_from(["clip", "abs", "flip", "drop", "floor"]), st.floats(0.25, 2))
def test_controls_keep_the_mean(delta: np.ndarray, negative: str, alpha: float) -> None:
    assume((delta > 0.01).any())  # else every weight may be 0
    results = {}
    for control in ("none", "constant", "shuffled", "inverse"):
        config = CoefficientConfig(negative=negative, alpha=alpha, control=control)  # type: ignore[arg-type]
        results[control] = coefficients(delta, config)
    plain = results["none"]
    for control, result in results.items():
        assert (result.keep == plain.keep).all(), control
        np.testing.assert_allclose(result.weights.mean(), plain.weights.mean(), rtol=1e-9)
    kept = plain.keep
    assert np.ptp(results["constant"].weights[kept]) == 0
    assert sorted(results["shuffled"].weights[kept]) == sorted(plain.weights[kept])
    rising = np.argsort(plain.weights[kept])
    assert (np.diff(results["inverse"].weights[kept][rising]) <= 1e-9 * plain.weights.max()).all()


def test_the_shuffle_is_seeded() -> None:
    delta = np.arange(1.0, 51.0)
    first, again, other = (
        coefficients(delta, CoefficientConfig(control="shuffled", seed=seed)).weights
        for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (first != delta).any()


@given(
    DIFFERENCES,
    st.sampled_from(["clip", "abs", "flip", "drop", "floor", "signed"]),
    st.sampled_from(["none", "tanh", "sigmoid", "log1p", "clip", "rank"]),
    st.sampled_from(["none", "mean", "std"]),
    st.sampled_from(["none", "constant", "shuffled", "inverse"]),
)
def test_alpha_zero_gives_exactly_one(
    delta: np.ndarray, negative: str, squash: str, normalise: str, control: str
) -> None:
    config = CoefficientConfig(
        alpha=0.0,
        negative=negative,  # type: ignore[arg-type]
        squash=squash,  # type: ignore[arg-type]
        normalise=normalise,  # type: ignore[arg-type]
        control=control,  # type: ignore[arg-type]
    )
    if negative == "drop" and (delta < 0).all():
        with pytest.raises(UserError, match="every pair is dropped"):
            coefficients(delta, config)
        return
    result = coefficients(delta, config)
    assert (result.weights[result.keep] == 1.0).all()
    assert (result.weights[~result.keep] == 0.0).all()


@given(DIFFERENCES)
def test_the_unit_of_the_differences_cancels_against_the_mean(delta: np.ndarray) -> None:
    # Scaling Δ by 4 scales R^½ by 2 and, divided by the mean, changes nothing.
    config = CoefficientConfig(negative="abs", alpha=0.5, normalise="mean")
    assume(np.abs(delta).max() > 1e-3)
    np.testing.assert_allclose(
        coefficients(4 * delta, config).weights, coefficients(delta, config).weights, rtol=1e-9
    )


def test_report() -> None:
    report = coefficients(DELTA, CoefficientConfig(negative="drop")).report
    assert (report["n"], report["n_kept"]) == (5, 3)
    assert report["share_negative"] == report["share_dropped"] == 0.4
    assert report["share_flipped"] == 0
    assert report["share_zero"] == pytest.approx(1 / 3)
    # Kept weights 4, 9, 0: (13)²/(3·97).
    assert report["effective_share"] == pytest.approx(169 / 291)
    assert report["before"]["mean"] == pytest.approx(-0.8)
    assert report["after"]["mean"] == pytest.approx(13 / 3)
    assert report["after"]["quantiles"]["0.5"] == 4
    assert list(report["after"]["quantiles"]) == ["0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"]


@pytest.mark.parametrize(
    ("delta", "config", "message"),
    [
        ([], {}, "no comparisons"),
        ([1.0, math.inf], {}, "difference 1 is inf"),
        ([-1.0, -2.0], {}, "every weight is 0"),
        ([-1.0, -2.0], {"negative": "drop"}, "every pair is dropped"),
        ([2.0, 2.0], {"normalise": "std"}, "normalise=std"),
        ([1.0, -3.0], {"negative": "signed", "normalise": "mean"}, "normalise=mean"),
        ([1.0, -1.0], {"negative": "signed", "control": "constant"}, "every weight is 0"),
        ([1e200], {"alpha": 2.0}, "overflows"),
    ],
)
def test_nothing_to_train_on_is_an_error(
    delta: list[float], config: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        coefficients(delta, CoefficientConfig(**config))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": math.inf}, "alpha"),
        ({"alpha": 0.5, "negative": "signed"}, "negative=signed has no power 0.5"),
        ({"floor": 0.0}, "floor"),
        ({"squash_scale": 0.0}, "squash_scale"),
    ],
)
def test_configurations_that_make_no_sense(config: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CoefficientConfig(**config)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["rewarddiff.coefficients", "rewarddiff.evaluation.comparisons"])
def test_imports_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- pairs of which a scorer says nothing ----------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        CoefficientConfig(normalise="mean"),
        CoefficientConfig(negative="flip", squash="rank", control="inverse"),
        CoefficientConfig(negative="drop", control="constant"),
        CoefficientConfig(negative="abs", normalise="std", control="shuffled", seed=3),
        CoefficientConfig(alpha=0),
    ],
    ids=str,
)
def test_unscored_pairs_are_left_out_as_if_they_had_not_been_there(
    config: CoefficientConfig,
) -> None:
    nan = math.nan
    groups = [Differences.of([nan, 1.0]), Differences.of([nan]), Differences.of([-2.0, nan, 5.0])]
    with_unscored = weigh(groups, config)
    without = weigh([Differences.of([1.0, -2.0, 5.0])], config)
    scored = [[False, True], [False], [True, False, True]]
    for part in ("weights", "flip", "keep"):
        values = np.concatenate(getattr(with_unscored, part))
        is_scored = np.concatenate(scored)
        np.testing.assert_array_equal(values[is_scored], getattr(without, part)[0])
        assert not values[~is_scored].any()
    own = {"n": 6, "share_unscored": 0.5}
    warning = "3 of 6 pairs are unscored, and left out of training"
    expected = {**without.report, **own, "warnings": [*without.report["warnings"], warning]}
    assert with_unscored.report == expected
    assert without.report["share_unscored"] == 0


def test_one_nan_by_hand() -> None:
    result = coefficients([1.0, math.nan, 2.0], CoefficientConfig())
    assert result.weights.tolist() == [1.0, 0.0, 2.0]
    assert result.keep.tolist() == [True, False, True]
    assert (result.report["n"], result.report["n_kept"]) == (3, 2)
    assert result.report["before"]["mean"] == 1.5


def test_a_pair_that_one_head_leaves_open_is_unscored() -> None:
    heads = np.array([[1.0, 3.0], [1.0, math.nan]])
    stated = Differences(((0, 1), (0, 1)), heads, weights=(0.5, 0.5), ensemble=True)
    result = weigh([stated], CoefficientConfig(lower=1.0, negative="drop"))
    # mean 2, less the spread √2
    np.testing.assert_allclose(result.weights[0], [2 - math.sqrt(2), 0])
    assert result.report["spread"]["mean"] == pytest.approx(math.sqrt(2))


def test_a_scorer_that_says_nothing_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="says nothing of any of 2 comparisons"):
        weigh([Differences.of([math.nan, math.nan])], CoefficientConfig())
    with pytest.raises(UserError, match="difference 0 is inf"):
        weigh([Differences.of([math.inf, math.nan])], CoefficientConfig())
