"""Stored responses that the trainer draws itself: at its start, and anew every so many turns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rewarddiff.encoding import Encoder
from rewarddiff.loop.schedule import turn_at, turns_within
from rewarddiff.policies.online.config import OnlineConfig, StoredConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions, with_baselines
from rewarddiff.policies.online.rollouts import OnlinePrompt, draw, groups_with_texts
from rewarddiff.processes import done_by_every_process, own_share
from rewarddiff.records import Group
from rewarddiff.store import finite


@dataclass(frozen=True)
class Baselines:
    """Groups with the responses that were drawn, by the places of their prompts.

    Attributes:
        turn: the one before which they were drawn.
    """

    by_place: Mapping[int, Group]
    turn: int = 0

    def of(self, prompt: OnlinePrompt) -> Group:
        """Return a prompt's stored responses: those drawn, or those that it brings."""
        return self.by_place.get(prompt.place, prompt.group)

    def plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, ready for JSON."""
        drawn = {}
        for place, group in self.by_place.items():
            drawn[str(place)] = {"responses": group.responses, "scores": finite(group.scores)}
        return {"turn": self.turn, "drawn": drawn}

    @classmethod
    def resumed(cls, plain: Mapping[str, Any], prompts: Sequence[OnlinePrompt]) -> Baselines:
        """Return those that `plain` was made of."""
        by_place = {}
        for place, drawn in plain["drawn"].items():
            group = prompts[int(place)].group.with_responses(drawn["responses"])
            by_place[int(place)] = replace(group, scores=_numbers(drawn["scores"]))
        return cls(by_place, plain["turn"])


def _numbers(scores: Sequence[float | None] | None) -> tuple[float, ...] | None:
    if scores is None:
        return None
    return tuple(math.nan if score is None else score for score in scores)


def is_due(source: StoredConfig | None, prompts: Sequence[OnlinePrompt], turn: int) -> bool:
    """Tell whether stored responses are drawn before this turn."""
    if source is None:
        return False
    if turn == 0:
        return not all(prompt.group.responses for prompt in prompts)
    return source.refresh is not None and turn % source.refresh == 0


def needed(
    prompts: Sequence[OnlinePrompt], turn: int, config: OnlineConfig, seed: int
) -> list[OnlinePrompt]:
    """Return the prompts of this turn and of all others until responses are drawn again."""
    count = len(prompts)
    steps = turns_within(count, config.train, config.turns)
    end = math.ceil(steps / config.turns.updates)
    assert config.baseline is not None
    if config.baseline.refresh is not None:
        period = turn // config.baseline.refresh
        end = min(end, (period + 1) * config.baseline.refresh)
    places: set[int] = set()
    for later in range(turn, end):
        places.update(turn_at(count, later, config.train, config.turns, seed))
    return [prompts[place] for place in sorted(places)]


def drawn_baselines(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[OnlinePrompt],
    functions: RewardFunctions,
    config: OnlineConfig,
    *,
    seed: int,
    turn: int,
) -> Baselines:
    """Return responses to prompts, drawn from the policy as it is, with the scores that are read.

    Args:
        prompts: those that are needed; each process draws its share.
    """
    mine = [prompts[place] for place in own_share(len(prompts))]

    def drawn() -> dict[int, Group]:
        rollouts = draw(
            model, encoder, mine, config.drawing_of_baseline, seed=["baseline", seed], turn=turn
        )
        groups = groups_with_texts(encoder, mine, rollouts, config.stop)
        complete = with_baselines(config.reward, functions, groups, unscored=config.unscored)
        return dict(zip([prompt.place for prompt in mine], complete, strict=True))

    by_place: dict[int, Group] = {}
    for part in done_by_every_process(drawn):
        by_place |= part
    return Baselines(dict(sorted(by_place.items())), turn)
