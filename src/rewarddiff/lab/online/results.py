"""What the laboratory with a transformer has measured, as it stands in its JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from rewarddiff import files
from rewarddiff.results import UNKNOWN, Interval
from rewarddiff.results.fields import Figure, Settings, Strict
from rewarddiff.results.reading import plain, read

FILE = "lab-online.json"


@dataclass(frozen=True)
class Point(Strict):
    """A policy on held-out prompts, at one place of its training.

    Attributes:
        samples: responses that it has learned from so far.
        gold: the mean true reward, from 0 to 1. easy, hard: on the easy and on the hard prompts.
        kl: KL(policy ‖ start), nats per response.
        reward: the mean of the reward that is learned from, on the same responses.
    """

    samples: int
    gold: float
    easy: float
    hard: float
    kl: float
    reward: Figure


@dataclass(frozen=True)
class Trained(Strict):
    """One policy: a way of training, in the world of one seed.

    Attributes:
        curve: from the start to the end of training.
        seconds: of a processor, evaluations included.
    """

    way: str
    seed: int
    curve: tuple[Point, ...]
    seconds: float

    @property
    def end(self) -> Point:
        return self.curve[-1]


@dataclass(frozen=True)
class BestOf(Strict):
    """What the best of n draws of the start is worth, as the reward picks it.

    Attributes:
        kl: log n − (n − 1)/n, nats; an upper bound, since rewards of several draws are alike.
        gold, easy, hard: the mean true reward of the pick.
    """

    n: int
    kl: float
    gold: float
    easy: float
    hard: float


@dataclass(frozen=True)
class Start(Strict):
    """The world of one seed, before anything is learned from a reward.

    Attributes:
        best: the best attainable mean true reward on the held-out prompts.
        accuracy: how often a success has a higher reward than a failure at the same prompt.
        prompts: how many prompts are trained on. held_out: how many are measured on.
        misread: the share of the draws whose reward is another than the true one; unknown where
            it is a reward model's.
        correlation: of the reward of a response with that of another draw to the same prompt, over
            prompts; 0 is what the paper's theorem assumes. correlation_gold: of the true rewards.
    """

    seed: int
    best: float
    prompts: int
    held_out: int
    start: Point
    misread: Figure
    correlation: Figure
    correlation_gold: Figure
    best_of: tuple[BestOf, ...]
    seconds: float
    accuracy: Figure = math.nan


@dataclass(frozen=True)
class Ended(Strict):
    """All seeds of one way, at the end of training, with intervals over seeds.

    Attributes:
        title: the way in words.
        gap: gold less that of PPO in the same world. gap_easy, gap_hard: likewise.
        gap_kl: its KL less that of PPO.
        reached: how many seeds end with 90 % of the best attainable gold, or more.
    """

    way: str
    title: str
    seeds: int
    gold: Interval
    easy: Interval
    hard: Interval
    kl: Interval
    gap: Interval
    gap_easy: Interval
    gap_hard: Interval
    gap_kl: Interval
    reached: int
    seconds: Interval


@dataclass(frozen=True)
class BestOfAll(Strict):
    """The best of n draws, over all seeds.

    Attributes:
        kl: log n − (n − 1)/n, nats, an upper bound here.
    """

    n: int
    kl: float
    gold: Interval
    easy: Interval
    hard: Interval


@dataclass(frozen=True)
class OnlineLab(Strict):
    """Everything that one run of the laboratory has measured.

    Attributes:
        config: as it was resolved.
        samples: responses that every way learns from.
        starts: the worlds, by seed. trained: every policy, by way and seed.
        ways: over all seeds, in the order they were asked for. start: before any of them.
        best_of: of draws from the start, as the reward picks them.
        misread, correlation, correlation_gold, accuracy: as in `Start`, over all seeds.
    """

    version: str
    config: Settings
    samples: int
    starts: tuple[Start, ...]
    trained: tuple[Trained, ...]
    ways: tuple[Ended, ...]
    start: Interval
    start_easy: Interval
    start_hard: Interval
    best: float
    best_of: tuple[BestOfAll, ...]
    misread: Interval
    correlation: Interval
    correlation_gold: Interval
    accuracy: Interval = UNKNOWN


def write_results(results: OnlineLab, folder: Path) -> Path:
    """Write `folder/lab-online.json`, and return its path."""
    path = folder / FILE
    files.write_text(path, json.dumps(plain(results), indent=1) + "\n")
    return path


def read_results(path: Path) -> OnlineLab:
    """Return what `write_results` has written."""
    return read(OnlineLab, json.loads(path.read_text()))
