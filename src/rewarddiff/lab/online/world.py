"""A small language with a known truth: prompts ask for words, and a response has them or has not.

A prompt is "name three rare sea words :". A response succeeds, and its true reward is 1, where it is
just so many words, all of that topic; else its true reward is 0. The language that the policy
is pretrained on does so more or less often: how often is known for each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rewarddiff.config import at_least, checked
from rewarddiff.records import Group

Mask = NDArray[np.bool_]

OPENINGS = ("name", "list", "give", "show", "find", "write")
COUNTS = ("one", "two", "three", "four")
MANNERS = ("new", "old", "plain", "rare", "common", "short")
WORDS = {
    "sea": "whale wave harbour ship shell reef tide sailor",
    "farm": "cow barn tractor hen field plough hay orchard",
    "city": "tram tower market street bridge square cafe museum",
    "sky": "cloud star moon comet kite eagle storm rainbow",
    "kitchen": "oven spoon kettle plate apron bowl pan stove",
    "forest": "oak fern owl moss trail stump acorn fox",
    "music": "drum flute choir opera violin song harp piano",
    "winter": "snow ice scarf sledge frost glove icicle skate",
}
TOPICS = tuple(WORDS)
WORDS_OF = {topic: tuple(words.split()) for topic, words in WORDS.items()}
LONGEST = len(COUNTS) + 2
"""Tokens of the longest response: one word too many, and the end."""


@checked
@dataclass(frozen=True)
class LanguageConfig:
    """How the language speaks.

    Attributes:
        clearest: how often a word is of the topic that was asked for, for the best topic. vaguest:
            for the worst one; the others lie between.
        miscounts: how often a response has a word too many.
        held_out: prompts to measure on, of 1,152.
    """

    clearest: float = 0.95
    vaguest: float = 0.55
    miscounts: float = 0.1
    held_out: int = 192

    def __post_init__(self) -> None:
        for name in ("clearest", "vaguest", "miscounts"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, should be from 0 to 1")
        at_least(self, 3, "held_out")


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for.

    >>> Asked("name", 2, "rare", "sea").text
    'name two rare sea words :'
    """

    opening: str
    count: int
    manner: str
    topic: str

    @property
    def text(self) -> str:
        return f"{self.opening} {COUNTS[self.count - 1]} {self.manner} {self.topic} words :"

    @property
    def group(self) -> Group:
        """The prompt without a response."""
        return Group(self.text, self.text, ())

    @classmethod
    def of(cls, text: str) -> Asked:
        """Return what a prompt's text asks for."""
        opening, count, manner, topic, *_ = text.split()
        return cls(opening, COUNTS.index(count) + 1, manner, topic)


def gold(prompt: str, response: str) -> float:
    """Return the true reward, 0 or 1.

    >>> gold("name two rare sea words :", "whale tide")
    1.0
    >>> gold("name two rare sea words :", "whale hen")
    0.0
    """
    asked = Asked.of(prompt)
    words = response.split()
    is_count = len(words) == asked.count
    are_of_topic = set(words) <= set(WORDS_OF[asked.topic])
    return float(is_count and are_of_topic)


def best(prompts: Sequence[Asked]) -> float:
    """Return the best attainable mean true reward: that of a response which does as it is asked."""
    rewards = []
    for asked in prompts:
        response = " ".join(WORDS_OF[asked.topic][: asked.count])
        rewards.append(gold(asked.text, response))
    return float(np.mean(rewards))


@dataclass(frozen=True)
class World:
    """The language of one seed: which topics it is clear about, and which prompts are held out."""

    config: LanguageConfig
    seed: int

    @cached_property
    def clarity(self) -> dict[str, float]:
        """How often a word is of the topic, by topic."""
        config = self.config
        levels = np.linspace(config.vaguest, config.clearest, len(TOPICS))
        shuffled = np.random.default_rng([self.seed, 0]).permutation(levels)
        return dict(zip(TOPICS, shuffled.tolist(), strict=True))

    @cached_property
    def _shuffled(self) -> list[Asked]:
        counts = range(1, len(COUNTS) + 1)
        every = [Asked(*parts) for parts in product(OPENINGS, counts, MANNERS, TOPICS)]
        order = np.random.default_rng([self.seed, 1]).permutation(len(every))
        return [every[place] for place in order]

    @property
    def prompts(self) -> list[Asked]:
        """The prompts to train on."""
        return self._shuffled[self.config.held_out :]

    @property
    def held_out(self) -> list[Asked]:
        """The prompts to measure on."""
        return self._shuffled[: self.config.held_out]

    def success(self, asked: Asked) -> float:
        """Return how often the language's own response to a prompt succeeds."""
        right_count = 1 - self.config.miscounts
        return right_count * self.clarity[asked.topic] ** asked.count

    def thirds(self, prompts: Sequence[Asked]) -> tuple[Mask, Mask]:
        """Return which prompts are in the easiest and which in the hardest third, both boolean.

        Easy are those on which the language succeeds most often.
        """
        successes = np.array([self.success(asked) for asked in prompts])
        ranks = successes.argsort(kind="stable").argsort(kind="stable")
        third = len(prompts) // 3
        return ranks >= len(prompts) - third, ranks < third

    def corpus(self, size: int) -> list[Group]:
        """Return what a policy is pretrained on: prompts, each with a response of the language."""
        draws = np.random.default_rng([self.seed, 2])
        groups = []
        for number in range(size):
            asked = self.prompts[draws.integers(len(self.prompts))]
            response = self._response(asked, draws)
            groups.append(Group(f"corpus:{number}", asked.text, (response,)))
        return groups

    def _response(self, asked: Asked, draws: np.random.Generator) -> str:
        others = [topic for topic in TOPICS if topic != asked.topic]
        count = asked.count + int(draws.random() < self.config.miscounts)
        words = []
        for _ in range(count):
            is_clear = draws.random() < self.clarity[asked.topic]
            topic = asked.topic if is_clear else others[draws.integers(len(others))]
            words.append(WORDS_OF[topic][draws.integers(len(WORDS_OF[topic]))])
        return " ".join(words)
