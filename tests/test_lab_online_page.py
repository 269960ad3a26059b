"""The page of the laboratory with a transformer: its words change with the figures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import lab_online_example as example
import numpy as np
import pytest

from rewarddiff.lab.online.baselines import claim, spread_left
from rewarddiff.lab.online.config import OnlineLabConfig
from rewarddiff.lab.online.distance import gap_at_one_distance, gold_at
from rewarddiff.lab.online.page import findings, render_online
from rewarddiff.lab.online.parts import Part
from rewarddiff.lab.online.results import OnlineLab, Point
from rewarddiff.lab.online.summary import summary
from rewarddiff.results.fields import UNKNOWN, Interval


def part_of(results: OnlineLab, key: str) -> Part:
    return next(part for part in findings(results).parts if part.key == key)


def said(results: OnlineLab, key: str) -> str:
    return " ".join(part_of(results, key).statements)


@pytest.mark.parametrize(
    ("contrastive", "verdict", "line"),
    [
        (0.4, "earns more than PPO", "More than PPO: contrastive, k = 3 (+0."),
        (0.1, "earns less than PPO", "Less than PPO: contrastive, k = 3 (−0."),
        (0.2, "is not told apart from PPO", "Not told apart from PPO: contrastive, k = 3"),
    ],
)
def test_what_is_said_of_the_paper_is_what_was_measured(
    contrastive: float, verdict: str, line: str
) -> None:
    results = example.results({"ppo": 0.2, "contrastive_3": contrastive})
    assert verdict in claim(results)
    assert verdict in findings(results).about
    assert line in said(results, "ways")
    assert ("Nothing is shown to earn more than PPO." in said(results, "ways")) == (
        contrastive <= 0.2
    )


def test_a_gap_is_taken_in_the_same_world() -> None:
    """Worlds differ by far more than ways: unpaired, nothing would show."""
    results = example.results({"ppo": 0.2, "rloo": 0.2})
    worlds = np.linspace(-0.3, 0.3, example.WORLDS)
    trained = []
    for training in results.trained:
        ahead = 0.05 + 0.002 * (training.seed - 2.5) if training.way == "rloo" else 0.0
        end = replace(training.end, gold=0.5 + worlds[training.seed] + ahead)
        trained.append(replace(training, curve=(*training.curve[:-1], end)))
    config = OnlineLabConfig(ways=("ppo", "rloo"), best_of=(1, 4))
    again = summary(config, results.starts, trained)
    assert "More than PPO: RLOO (+0.050)" in said(again, "ways")


def test_a_way_that_went_farther_is_held_against_ppo_where_both_have_been() -> None:
    """It earns twice as much at four times the distance: on straight lines half as much a nat."""
    results = example.results({"ppo": 0.1, "rloo": 0.2}, kl={"rloo": 4.0}, spread=0.001)
    assert "More than PPO: RLOO" in said(results, "ways")
    assert "Less than PPO: RLOO (−0.050)" in said(results, "kl")


def curve(*places: tuple[float, float]) -> list[Point]:
    return [Point(0, gold, gold, gold, kl, gold) for kl, gold in places]


def test_the_distance_of_two_curves_by_hand() -> None:
    """One ends at 1 nat with 0.6. The other passes 1 nat between (0.5, 0.4) and (1.5, 0.8): 0.6."""
    one = curve((0, 0.2), (1, 0.6))
    other = curve((0, 0.2), (0.5, 0.4), (1.5, 0.8), (1.2, 0.9))
    assert gold_at(other, 1.0) == pytest.approx(0.6)
    assert gap_at_one_distance(one, other) == pytest.approx(0.0)
    assert gap_at_one_distance(other, one) == pytest.approx(0.0)
    assert gold_at(one, 0.0) == 0.2
    assert np.isnan(gold_at(one, 1.1))


@pytest.mark.parametrize(
    ("beyond", "words", "not_said"),
    [
        (0.2, "as the paper says, shows here of contrastive, k = 3 (+0.", "contrary"),
        (-0.2, "does not show here, for none of 1 ways", "shows here of"),
    ],
)
def test_hard_prompts(beyond: float, words: str, not_said: str) -> None:
    results = example.results(
        {"ppo": 0.2, "contrastive_3": 0.2}, hard={"contrastive_3": beyond}, spread=0.001
    )
    assert words in said(results, "difficulty")
    assert not_said not in said(results, "difficulty")
    assert ("The contrary shows of contrastive, k = 3 (−0." in said(results, "difficulty")) == (
        beyond < 0
    )


def test_k_by_k() -> None:
    gains = {"ppo": 0.2, "contrastive_1": 0.1, "contrastive_3": 0.2, "contrastive_10": 0.4}
    words = said(example.results(gains), "k")  # type: ignore[arg-type]
    assert "More than PPO: k = 10" in words
    assert "Less than PPO: k = 1" in words
    assert "k = 10 earns more than k = 1" in words
    even = {"ppo": 0.2, "contrastive_1": 0.2, "contrastive_5": 0.2}
    assert "No k is told apart from another." in said(example.results(even), "k")  # type: ignore[arg-type]


def test_scales_are_held_against_the_papers() -> None:
    gains = {"ppo": 0.2, "ppo_unit_std": 0.1, "contrastive_3": 0.2, "contrastive_3_constant": 0.4}
    words = said(example.results(gains), "scale")  # type: ignore[arg-type]
    assert "with λ = 1 earns more than one with the paper's λ" in words
    assert "over their standard deviation earns less than PPO on rewards as they are" in words


def test_what_a_baseline_leaves_of_the_spread_is_that_of_simulated_rewards() -> None:
    """Rewards of a prompt share a part: their correlation is its share of the variance."""
    draws = np.random.default_rng(0)
    correlation, k = 0.3, 4
    shared = np.sqrt(correlation) * draws.standard_normal((200_000, 1))
    rewards = shared + np.sqrt(1 - correlation) * draws.standard_normal((200_000, 1 + k))
    left = (rewards[:, 0] - rewards[:, 1:].mean(1)).var() / rewards[:, 0].var()
    assert spread_left(correlation, k) == pytest.approx(left, rel=0.02)


def test_the_theorems_assumption_is_read_off_the_correlation() -> None:
    dependent = replace(example.everything(), correlation=Interval(0.3, 0.2, 0.4, 6))
    words = said(dependent, "correlation")
    assert words.startswith("No: rewards of two draws to one prompt correlate by 0.30 [0.20, 0.40]")
    # 0.3 is above 1/(3 + 1) and below 1/(1 + 1)
    assert "spread less from k = 3 on, and more at k = 1" in words
    hardly = replace(example.everything(), correlation=Interval(0.05, 0.02, 0.08, 6))
    assert "of any of these k makes rewards spread more" in said(hardly, "correlation")
    independent = replace(example.everything(), correlation=Interval(0.3, -0.1, 0.5, 6))
    words = said(independent, "correlation")
    assert words.startswith("No correlation shows")
    assert "spread less" not in words


def test_noise_shrinks_what_policies_earn() -> None:
    """Of a true gain of 0.2 remain 0.2·(1 − 0.3 − 0.3) = 0.08, where the reward is as misread."""
    results = example.results({"ppo": 0.2}, spread=0.0)
    table = part_of(results, "noise").tables[0]
    _, formula, read, difference = table.rows[0]
    assert formula.text == "+0.080"
    assert float(read.text) == pytest.approx(0.08, abs=0.02)
    assert float(difference.text.replace("−", "-")) == pytest.approx(0, abs=0.02)
    assert "agrees with that for 1 of 1 ways" in said(results, "noise")


def test_a_policy_that_pleases_the_noise_is_named() -> None:
    results = example.results({"ppo": 0.2, "rloo": 0.2})
    trained = []
    for training in results.trained:
        end = training.end
        if training.way == "rloo":
            end = replace(end, reward=end.reward + 0.1)
        trained.append(replace(training, curve=(*training.curve[:-1], end)))
    words = said(replace(results, trained=tuple(trained)), "noise")
    assert "agrees with that for 1 of 2 ways" in words
    assert "It does not for RLOO (+0.1" in words


# --- little or nothing ----------------------------------------------------------------------------


def test_one_way_in_one_world() -> None:
    words = findings(example.results({"ppo": 0.2}, worlds=1)).markdown
    assert "nan" not in words
    assert "+0.000" not in words
    assert "More than PPO" not in words


def test_no_ppo_to_hold_ways_against() -> None:
    results = example.results({"rloo": 0.2, "grpo": 0.3})
    assert "PPO" not in said(results, "ways")
    assert findings(results).about.endswith("gaps are taken in the same world.")


def test_one_world_tells_nothing_apart() -> None:
    words = said(example.results({"ppo": 0.2, "rloo": 0.9}, worlds=1), "ways")
    assert "Without an interval: RLOO (+0." in words
    assert "More than PPO" not in words


def test_what_is_not_known_is_a_dash() -> None:
    unknown = replace(
        example.everything(),
        correlation=UNKNOWN,
        correlation_gold=UNKNOWN,
    )
    part = part_of(unknown, "correlation")
    assert [cell.text for cell in part.tables[0].rows[0][1:]] == ["–", "–"]
    assert "nan" not in findings(unknown).markdown


# --- files ----------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Counts tags, and notes what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.places += [value or "" for name, value in attrs if name in ("href", "src")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab-online")
    assert render_online(example.everything(), folder) == folder / "lab-online.html"
    return folder


def test_the_page_runs_nothing_and_fetches_nothing(folder: Path) -> None:
    text = (folder / "lab-online.html").read_text()
    assert "default-src 'none'" in text
    tags = Tags()
    tags.feed(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(tags.names)
    assert all(re.fullmatch(r"#[\w-]+|figures/[\w-]+\.csv", place) for place in tags.places)
    for place in tags.places:
        if place.startswith("figures"):
            assert (folder / place).exists()


def test_the_markdown_shows_every_image(folder: Path) -> None:
    text = (folder / "lab-online.md").read_text()
    shown = sorted(re.findall(r"\]\((images/[\w-]+\.svg)\)", text))
    assert shown == sorted(f"images/{file.name}" for file in (folder / "images").iterdir())
    for name in shown:
        root: Any = ElementTree.parse(folder / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_questions_that_no_way_answers_are_left_out() -> None:
    keys = [part.key for part in findings(example.results({"ppo": 0.2})).parts]
    assert "k" not in keys
    assert "scale" not in keys
    assert len(part_of(example.results({"ppo": 0.2}), "kl").drawings) == 1


def test_of_a_reward_model_the_formula_says_nothing() -> None:
    misread = example.results({"ppo": 0.2})
    learned = replace(
        misread, config={**misread.config, "reward": "learned"}, accuracy=Interval(0.8, 0.7, 0.9, 6)
    )
    assert "it puts a success before a failure in 80 %" in findings(learned).about
    assert "the formula says nothing of them" in said(learned, "noise")
    assert "agrees with that" not in said(learned, "noise")
    titles = [table.title for table in part_of(learned, "noise").tables]
    assert titles == [table.title for table in part_of(misread, "noise").tables][1:]


def test_one_world_is_one_world_and_a_page_without_ppo_speaks_of_no_gap_to_it() -> None:
    text = findings(example.results({"rloo": 0.2}, worlds=1)).markdown
    assert "1 worlds" not in text
    assert "Of one world there are no intervals." in text
    assert "strokes" not in text
    assert "gap to PPO" not in text
    assert "gap at one distance" not in text
    assert "against PPO" not in text
    assert "Best of 1 is the policy before training, measured on other draws" in text
    many = findings(example.results({"ppo": 0.2, "rloo": 0.3})).markdown
    assert "gap to PPO" in many
    assert "Intervals are of 95 % over 6 worlds; gaps are taken in the same world." in many
