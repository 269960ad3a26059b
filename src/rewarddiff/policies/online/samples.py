"""What every turn begins with: samples of all prompts, read and scored, by processes that share them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar

from rewarddiff.encoding import Encoder
from rewarddiff.policies.online.rollouts import (
    OnlinePrompt,
    Rollout,
    Sampling,
    draw,
    groups_with_texts,
)
from rewarddiff.processes import done_by_every_process, own_share, processes
from rewarddiff.records import Group


class Placed(Protocol):
    """What was made of one prompt's samples."""

    @property
    def place(self) -> int:
        """The prompt's among those of the turn."""
        ...


Made = TypeVar("Made", bound=Placed)

Score = Callable[
    [Sequence[int], Sequence[OnlinePrompt], Sequence[Rollout], Sequence[Group]], Sequence[Made]
]
"""Places of prompts, the prompts, their rollouts, and these as a scorer reads them → what it says."""


def scored_samples(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[OnlinePrompt],
    config: Sampling,
    *,
    seed: object,
    turn: int,
    read: Callable[[Sequence[Rollout]], list[Rollout]],
    score: Score[Made],
) -> tuple[list[Made], dict[str, float]]:
    """Return what a scorer says of samples of all prompts, in their order, and this process's seconds.

    Args:
        model: the policy that responses are drawn from.
        prompts: all of the turn; each process draws, reads and scores its share.
        read: completes rollouts with what forward passes say of them.
        score: is not asked by a process without prompts.
    """
    places = own_share(len(prompts))
    mine = [prompts[place] for place in places]

    def made() -> tuple[Sequence[Made], dict[str, float]]:
        began = time.perf_counter()
        rollouts = draw(model, encoder, mine, config, seed=seed, turn=turn)
        sampled = time.perf_counter()
        rollouts = read(rollouts)
        has_read = time.perf_counter()
        scored: Sequence[Made] = []
        if mine:
            groups = groups_with_texts(encoder, mine, rollouts, config.stop)
            scored = score(places, mine, rollouts, groups)
        seconds = {
            "time/sampling": sampled - began,
            "time/reading": has_read - sampled,
            "time/scoring": time.perf_counter() - has_read,
        }
        return scored, seconds

    parts = done_by_every_process(made)
    scored = sorted(chain(*(part for part, _ in parts)), key=lambda one: one.place)
    _, seconds = parts[processes().process_index]
    return scored, seconds
