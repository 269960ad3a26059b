"""The laboratory: its worlds are what they say, its policies and answers what theory says."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import optimize

from rewarddiff.cli import main
from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.lab.asking import LabConfig, gaps, weighting
from rewarddiff.lab.identities import identities
from rewarddiff.lab.policy import Method, Training, _judged, _scaled, gains, train
from rewarddiff.lab.questions import quality
from rewarddiff.lab.world import World, cut, draw, scored, share_of_wrong_labels

SMALL = World(pairs=80, prompts=40, features=5)


def test_rewards_have_standard_deviation_1_and_labels_follow_the_gap() -> None:
    sample = draw(World(pairs=20_000, prompts=5_000), 0)
    assert sample.rewards.std() == pytest.approx(1, abs=0.02)
    # close pairs are labelled worse: of gaps about ±1 the share of right labels is σ(1)
    near_one = np.abs(np.abs(sample.truth) - 1) < 0.1
    assert (sample.truth[near_one] > 0).mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.02)


def test_the_ends_of_noise() -> None:
    assert share_of_wrong_labels(World(noise=0)) == 0
    assert share_of_wrong_labels(World(noise=1000)) == pytest.approx(0.5, abs=0.01)


def test_noise_moves_labels_and_nothing_else() -> None:
    one, other = (draw(replace(SMALL, noise=noise), 3) for noise in (0, 5))
    assert np.array_equal(np.abs(one.truth), np.abs(other.truth))
    assert np.array_equal(one.held_out, other.held_out)
    assert not np.array_equal(one.truth, other.truth)


@pytest.mark.parametrize("q", [1.0, 0.8, 0.3, 0.0])
def test_a_scorers_quality_is_its_correlation_with_the_truth(q: float) -> None:
    sample = draw(World(pairs=40_000), 1)
    sign = np.where(
        np.random.default_rng(0).random(40_000) < 0.5, 1, -1
    )  # as if no label had been given
    found = np.corrcoef(sign * scored(sample.truth, q, 1), sign * sample.truth)[0, 1]
    assert found == pytest.approx(q, abs=0.02)


def test_a_policy_is_a_weighted_logistic_regression() -> None:
    """scipy minimises Σ c·log(1 + e^(−β θ·Δφ)) as a referee, for two weightings trained at once."""
    sample, training = draw(SMALL, 0), Training(steps=4000)
    config = CoefficientConfig(alpha=1.0, negative="abs")
    found = train(sample, [Method(sample.truth), Method(sample.truth, config)], training)
    gap = sample.chosen - sample.rejected
    for theta, weight in zip(found, (np.ones(80), np.abs(sample.truth)), strict=True):
        best = optimize.minimize(
            lambda t, w=weight: (w * np.logaddexp(0, -0.1 * gap @ t)).sum(), np.zeros(5)
        )
        assert theta == pytest.approx(best.x, rel=1e-2, abs=0.05)


def test_a_hundred_steps_are_enough() -> None:
    """At one distance from the reference the direction counts, and it hardly moves any more."""
    sample = draw(World(), 0)
    methods = [
        Method(sample.truth),
        Method(sample.truth, CoefficientConfig(alpha=1.0)),
        Method(sample.truth, objective="rdpo"),
    ]
    found = [gains(sample, methods, Training(steps=steps)) for steps in (100, 3000)]
    assert found[0] == pytest.approx(found[1], abs=5e-3)


def test_a_target_is_a_regression() -> None:
    """rpo's squares: βθ is the least-squares fit of the differences."""
    sample = draw(SMALL, 0)
    (theta,) = train(sample, [Method(sample.truth, objective="rpo")], Training(steps=4000))
    fit, *_ = np.linalg.lstsq(sample.chosen - sample.rejected, sample.truth, rcond=None)
    assert 0.1 * theta == pytest.approx(fit, rel=1e-4, abs=1e-6)


def test_policies_are_compared_at_the_same_distance() -> None:
    sample = draw(SMALL, 0)
    kl, _ = _judged(sample, _scaled(sample, np.random.default_rng(0).standard_normal((3, 5)), 0.7))
    assert kl == pytest.approx([0.7] * 3)


def test_the_direction_of_the_truth_gains_most() -> None:
    """θ along the true direction against random ones; the gain by hand for one prompt."""
    sample = draw(replace(SMALL, unseen=0.0), 0)
    features = sample.held_out.reshape(-1, 5)
    truth, *_ = np.linalg.lstsq(features, sample.rewards.reshape(-1), rcond=None)
    others = np.random.default_rng(1).standard_normal((20, 5))
    _, gain = _judged(sample, _scaled(sample, np.vstack([truth, others]), 0.5))
    assert gain.argmax() == 0
    share = np.exp(sample.held_out[0] @ truth)
    share /= share.sum()
    one = type(sample)(
        sample.chosen, sample.rejected, sample.truth, sample.held_out[:1], sample.rewards[:1]
    )
    expected = share @ sample.rewards[0] - sample.rewards[0].mean()
    assert _judged(one, truth[None])[1][0] == pytest.approx(expected)


def test_a_constant_weight_changes_nothing() -> None:
    sample = draw(SMALL, 0)
    cells = {("constant", "1"): weighting(control="constant")(sample.truth, 1.0, 0)}
    assert gaps(sample, cells, Training())["constant", "1"] == pytest.approx(0, abs=1e-6)


def test_flipping_by_an_oracle_is_training_on_labels_without_noise() -> None:
    """α = 0 with flip: every label right, every weight 1."""
    sample, clean = draw(SMALL, 5), draw(replace(SMALL, noise=0), 5)
    flipped = Method(sample.truth, CoefficientConfig(alpha=0, negative="flip"))
    assert gains(sample, [flipped], Training()) == pytest.approx(
        gains(clean, [Method(clean.truth)], Training())
    )


def test_cut_keeps_every_comparison() -> None:
    sample = draw(SMALL, 0)
    one, other = cut(sample, 30)
    assert (len(one.truth), len(other.truth)) == (30, 50)
    assert np.array_equal(np.concatenate([one.chosen, other.chosen]), sample.chosen)


def test_an_oracle_helps_and_a_coin_does_not() -> None:
    found = quality(LabConfig(seeds=12))
    row = found.rows["weighted (clip)"]
    assert row["1"].low > 0
    assert row["0"].high < 0
    assert list(row) == list(found.places)


def test_identities() -> None:
    *holding, loose = identities()
    for identity in holding:
        for case, derived, simulated in identity.cases:
            assert simulated == pytest.approx(derived, abs=4e-3), case
    # p = 0.2, q = 0.6 differ in 0.2·0.4 + 0.8·0.6 = 0.56, times 2·0.2 − 1, times 0.6; what is:
    # 0.6·(0.2 − 0.6)
    assert [(round(one, 4), round(other, 2)) for _, one, other in loose.cases][1] == (
        -0.2016,
        -0.24,
    )
    assert not loose.holds


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert (
        main(["lab", "--output", str(tmp_path), "seeds=2", "world.pairs=40", "world.prompts=20"])
        == 0
    )
    assert time.monotonic() - start < 60
    said = capsys.readouterr().out
    assert "How good must the scorer be?" in said
    about = said.partition("\n")[0]
    assert about.endswith(
        "gaps in true reward to plain DPO on the same comparisons, with 95 % intervals over 2 worlds."
    )
    page, text = ((tmp_path / name).read_text() for name in ("lab.html", "lab.md"))
    assert "<script" not in page
    assert page.count("<svg") == 8
    assert "And if the scorer has to learn from labels too?" in text
    pictures = sorted(re.findall(r"\]\((images/lab-\w+\.svg)\)", text))
    assert pictures == sorted(f"images/{file.name}" for file in (tmp_path / "images").iterdir())
    for name in pictures:
        assert ElementTree.parse(tmp_path / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    for wrong, cause in (
        ("seeds=1", "seeds"),
        ("training.kl=3", "should be below log(world.responses), 2.08"),
    ):
        assert main(["lab", wrong]) == 2
        assert cause in capsys.readouterr().err
