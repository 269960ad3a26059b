"""The offline questions on a transformer: comparisons, weights, what the findings say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.cli import main
from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.errors import UserError
from rewarddiff.lab.online.comparisons import (
    Compared,
    Comparisons,
    Graded,
    PairsConfig,
    compared,
    items,
)
from rewarddiff.lab.online.offline import LINES
from rewarddiff.lab.online.offline_findings import Both, agreement
from rewarddiff.lab.online.offline_page import offline_findings
from rewarddiff.lab.online.offline_results import (
    OfflineLab,
    OfflineTrained,
    OfflineWorld,
    read_offline,
)
from rewarddiff.lab.online.policy import PretrainConfig, encoder, pretrained
from rewarddiff.lab.online.results import Point
from rewarddiff.lab.online.world import LanguageConfig, World, gold
from rewarddiff.lab.policy import Method
from rewarddiff.lab.words import threshold
from rewarddiff.results import Interval

WORLD = World(LanguageConfig(), 0)


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    reads = encoder()
    start = pretrained(PretrainConfig(texts=3200), WORLD, reads)
    return compared(WORLD, start, reads, PairsConfig(pairs=400, equal=0.25, wrong=0.3))


# --- comparisons ----------------------------------------------------------------------------------


def test_comparisons_are_of_what_was_asked_for(comparisons: Comparisons) -> None:
    truth = comparisons.truth
    assert len(truth) == 400
    assert (truth == 0).sum() == 100  # exactly: they are dealt out, not drawn
    # Of 300 labels 30 % are wrong, give or take 4 standard errors of 2.6 %.
    assert (truth[truth != 0] < 0).mean() == pytest.approx(0.3, abs=0.11)
    # A response of reward 1 or 0 lies a gap of 1 apart, in standard deviations 1/√(p(1 − p)).
    rewards = [pair.chosen.reward for pair in comparisons.pairs]
    rewards += [pair.rejected.reward for pair in comparisons.pairs]
    p = np.mean(rewards)
    assert abs(truth).max() == pytest.approx(1 / np.sqrt(p * (1 - p)))


def test_responses_are_graded_by_their_own_text(comparisons: Comparisons) -> None:
    reads = encoder()
    for pair in comparisons.pairs[:50]:
        assert pair.chosen.tokens != pair.rejected.tokens
        prompt = reads.text(pair.prompt)
        for response in (pair.chosen, pair.rejected):
            assert response.reward == gold(prompt, reads.text(response.tokens))


def test_more_pairs_than_there_are_is_one_line() -> None:
    """A transformer that has read nothing says nothing right: no two responses differ in reward."""
    reads = encoder()
    start = pretrained(PretrainConfig(texts=1, hidden=8, layers=1, heads=1), WORLD, reads)
    small = World(LanguageConfig(held_out=1150), 0)
    with pytest.raises(UserError, match=r"30 comparisons were asked for, and \d+ could be had"):
        compared(small, start, reads, PairsConfig(pairs=30, equal=0.0))


def two_pairs() -> Comparisons:
    """The first label is right, the second wrong."""
    right = Compared((1, 2), Graded((3,), 1.0), Graded((4,), 0.0))
    wrong = Compared((1, 5), Graded((6,), 0.0), Graded((7,), 1.0))
    return Comparisons((right, wrong))


def test_an_oracle_silences_or_turns_the_wrong_label() -> None:
    pairs = two_pairs()
    # Rewards 1, 0, 0, 1 have the standard deviation 1/2.
    assert pairs.truth.tolist() == [2.0, -2.0]
    clipped = items(pairs, Method(pairs.truth, CoefficientConfig()))
    assert [item.coefficients for item in clipped] == [(2.0,), (0.0,)]
    assert [item.comparisons for item in clipped] == [((0, 1),), ((0, 1),)]
    flipped = items(pairs, Method(pairs.truth, CoefficientConfig(negative="flip")))
    assert [item.coefficients for item in flipped] == [(2.0,), (2.0,)]
    assert [item.comparisons for item in flipped] == [((0, 1),), ((1, 0),)]
    shifted = items(pairs, Method(pairs.truth, objective="rdpo"))
    assert [item.strengths for item in shifted] == [(2.0,), (-2.0,)]
    assert [item.coefficients for item in shifted] == [(1.0,), (1.0,)]


# --- findings -------------------------------------------------------------------------------------


def made_up(ahead: Mapping[str, float], worlds: int = 5) -> OfflineLab:
    """Return results in which a line earns so much more than plain DPO, at either quality."""
    draws = np.random.default_rng(0)

    def trained(line: str, quality: float, end: float) -> OfflineTrained:
        points = [Point(0, 0.4, 0.7, 0.1, 0.0, 0.4), Point(64, end, end, end, 0.2, end)]
        return OfflineTrained(line, quality, tuple(points))

    of_worlds = []
    for seed in range(worlds):
        ways = []
        for line in LINES:
            for quality in (1.0, 0.4):
                end = 0.5 + ahead.get(line, 0.0) + 0.005 * draws.standard_normal()
                ways.append(trained(line, quality, end))
        plain = trained("", 1.0, 0.5)
        of_worlds.append(OfflineWorld(seed, 0.3, 0.3, plain, tuple(ways), 1.0))
    config = {"pairs": {"pairs": 100, "beta": 0.1, "steps": 8}}
    return OfflineLab("0", config, tuple(of_worlds))


def test_what_is_said_is_what_was_measured() -> None:
    text = offline_findings(made_up({"weight (clip)": 0.1, "weight (abs)": -0.1}), {}).markdown
    assert "Weight (clip) helps from a correlation of 0.4 up (an oracle: +0.1" in text
    assert "Weight (abs) helps at no quality of the scorer (an oracle: −0." in text
    assert "With a scorer of 0.4, weight (clip) does best, +0." in text
    other = offline_findings(made_up({"weight (clip)": -0.1, "weight (flip)": -0.2}), {}).markdown
    assert "Weight (clip) helps at no quality of the scorer (an oracle: −0." in other
    assert "it hurts at every quality" in other


def test_no_gain_is_called_none() -> None:
    gains = {"weight (clip)": -0.1, "weight (abs)": -0.2, "weight (flip)": -0.3}
    text = offline_findings(made_up(gains), {}).markdown
    assert "weight (clip) does best, −0." in text
    assert "which is no gain over plain DPO that shows" in text


def test_one_world_has_no_intervals() -> None:
    text = offline_findings(made_up({"weight (clip)": 0.1}, worlds=1), {}).markdown
    assert "nan" not in text
    assert "helps from" not in text


ABOVE, BELOW, AROUND = Interval(1, 0.5, 1.5, 5), Interval(-1, -2, -0.5, 5), Interval(0, -1, 1, 5)


def test_where_the_laboratories_agree() -> None:
    both = [
        Both("clip", "1", ABOVE, ABOVE),
        Both("clip", "0", AROUND, AROUND),
        Both("abs", "1", BELOW, ABOVE),
        Both("flip", "1", ABOVE, AROUND),
        Both("flip", "0", AROUND, BELOW),
    ]
    assert agreement(both) == [
        "Of 5 answers 2 are alike in both laboratories.",
        "They contradict each other in 1: abs at 1 hurts there and helps here.",
        "Shown by the linear policy alone: flip at 1 helps.",
        "Shown by the transformer alone: flip at 0 hurts.",
    ]
    assert "They contradict each other in none." in agreement(both[:2])


# --- the command ----------------------------------------------------------------------------------

TINY = (
    "seeds=1", "qualities=[1.0]", "pairs.pairs=30", "pairs.steps=2", "pretrain.texts=3200",
    "language.held_out=12", "draws=1", "points=1", "linear_seeds=2",
)  # fmt: skip


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "offline", "--output", str(tmp_path), *TINY]) == 0
    said = capsys.readouterr().out
    assert "How good must the scorer be?" in said
    assert "Of 6 answers" in said  # a line each, with the linear laboratory's beside it
    page = (tmp_path / "lab-offline.html").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    results = read_offline(tmp_path / "lab-offline.json")
    (world,) = results.worlds
    assert {way.line for way in world.ways} == set(LINES)
    assert all(way.curve[0] == world.plain.curve[0] for way in world.ways)
    # What is done is not done again: the same call reads the kept world.
    (kept,) = tmp_path.glob("worlds-*/0.json")
    before = kept.stat().st_mtime_ns
    assert main(["lab", "offline", "--output", str(tmp_path), *TINY]) == 0
    assert kept.stat().st_mtime_ns == before


def test_bad_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, cause in (
        ("qualities=[1.5]", "qualities has 1.5"),
        ("qualities=[]", "name at least one"),
        ("pairs.wrong=0.7", "wrong is 0.7"),
        ("pairs.equal=1", "equal is 1"),
    ):
        assert main(["lab", "offline", "--output", str(tmp_path), wrong]) == 2
        assert cause in capsys.readouterr().err


def test_a_gap_in_the_middle_is_no_threshold() -> None:
    """It helps at 0.8 and shows nothing of an oracle: not "from 0.8 up"."""
    row = {"1": AROUND, "0.8": ABOVE, "0.4": BELOW, "0": AROUND}
    said = threshold("clip", row)
    assert (
        said
        == "Clip helps at a correlation of 0.8 (an oracle: 0.000 [−1.000, +1.000]); it hurts at 0.4."
    )
    ordered = {"1": ABOVE, "0.8": ABOVE, "0.4": BELOW, "0": BELOW}
    assert "helps from a correlation of 0.8 up" in threshold("clip", ordered)
    assert "it hurts at 0.4 and below" in threshold("clip", ordered)
