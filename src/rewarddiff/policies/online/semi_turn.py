"""One turn of semi-online training: what a scorer says of all samples becomes items, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewarddiff.coefficients import CoefficientConfig, lower_bounds, weigh
from rewarddiff.designs import comparisons
from rewarddiff.differences import Array, Differences, Pair, joined
from rewarddiff.encoded import Encoded
from rewarddiff.errors import UserError
from rewarddiff.policies.items import Pairs, PreferenceItem, preference_items
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.pairing import (
    each_once,
    folded,
    less_truncated,
    preferred,
    scores_by,
)
from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.rewards import TruncationConfig, penalised
from rewarddiff.sampling.batches import Tokens


@dataclass(frozen=True)
class Judged:
    """A prompt's samples with what the scorer says of them.

    Attributes:
        place: among those of the turn.
        group: the prompt with the samples as the scorer read them.
        differences: every two responses that were compared, once; after penalties.
        scores: r, after penalties, or where d was read the potentials of the differences; NaN where
            a response is not scored.
        rewards: r as it was given; None where there is none.
        pairs: (chosen, rejected), those that are trained on.
    """

    place: int
    rollout: Rollout
    group: Group
    differences: Differences
    scores: Array
    rewards: Array | None
    pairs: tuple[Pair, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether responses were compared, and none is better than another."""
        return not self.pairs and bool(self.differences.scored.any())


def judged(
    places: Sequence[int],
    rollouts: Sequence[Rollout],
    groups: Sequence[Group],
    functions: RewardFunctions,
    config: SemiOnlineConfig,
) -> list[Judged]:
    """Return rollouts with what the scorer says of them, and the pairs that it makes of them."""
    if functions.pointwise:
        result = _by_rewards(places, rollouts, groups, functions, config)
    else:
        result = _by_differences(places, rollouts, groups, functions, config)
    complete = []
    for one in result:
        pairs = preferred(one.differences, one.scores, one.rollout.responses, choice=config.pairs)
        complete.append(replace(one, pairs=tuple(pairs)))
    return complete


def _by_rewards(
    places: Sequence[int],
    rollouts: Sequence[Rollout],
    groups: Sequence[Group],
    functions: RewardFunctions,
    config: SemiOnlineConfig,
) -> list[Judged]:
    """Return rollouts with r of each response, and differences of these."""
    result = []
    for place, rollout, group, r in zip(places, rollouts, groups, functions.r(groups), strict=True):
        penalty = TruncationConfig(missing_eos_penalty=config.missing_eos_penalty)
        scores = penalised(r, ~np.array(rollout.ended), penalty)
        pairs = each_once(comparisons(len(r), config.design, group.id))
        differences = Differences.of_rewards(scores, pairs)
        result.append(Judged(place, rollout, group, differences, scores, r))
    return result


def _by_differences(
    places: Sequence[int],
    rollouts: Sequence[Rollout],
    groups: Sequence[Group],
    functions: RewardFunctions,
    config: SemiOnlineConfig,
) -> list[Judged]:
    """Return rollouts with d of their pairs, and potentials of these.

    Where there is r as well, the log shows it.
    """
    pairs = [comparisons(len(group.responses), config.design, group.id) for group in groups]
    read = functions.d(groups, pairs)
    rewards: Sequence[Array | None] = [None] * len(groups)
    if functions.scores is not None:
        rewards = functions.r(groups)
    result = []
    for place, rollout, group, differences, r in zip(
        places, rollouts, groups, read, rewards, strict=True
    ):
        differences = folded(differences)
        if config.missing_eos_penalty is not None:
            truncated = [not has_ended for has_ended in rollout.ended]
            differences = less_truncated(differences, truncated, config.missing_eos_penalty)
        scores = scores_by(len(rollout.ended), differences)
        result.append(Judged(place, rollout, group, differences, scores, r))
    return result


def _require_usable(groups: Sequence[Judged], config: SemiOnlineConfig) -> None:
    """Raise a UserError where what a scorer says is nothing that a policy can learn from."""
    for one in groups:
        stated = {"differences": one.differences.mean}
        if one.rewards is not None:
            stated = {"rewards": one.rewards, **stated}
        for what, values in stated.items():
            given = f"{one.rollout.id}: its {what} are {values.tolist()}; stopped before an update"
            if np.isinf(values).any():
                raise UserError(f"{given}: mend what scores it")
            if config.unscored == "stop" and np.isnan(values).any():
                raise UserError(
                    f"{given}: mend what scores it, or leave such responses out with "
                    "unscored: leave_out"
                )
    if not any(one.differences.scored.any() for one in groups):
        raise UserError(
            f"{groups[0].rollout.id}: neither of its responses nor of any others of the draw is it "
            "known which is better; stopped before an update: mend what scores them"
        )


def items_of(
    groups: Sequence[Judged], config: SemiOnlineConfig, *, temperature: float | None = None
) -> list[PreferenceItem]:
    """Return the pairs of all groups of a turn, with coefficients, as the objective reads them.

    Scales of coefficients are those of the whole turn.

    Args:
        temperature: of the scorer, for `coefficient.calibrated`.

    Raises:
        UserError: a reward is infinite, not there where `unscored` is to stop, or there is none.
    """
    _require_usable(groups, config)
    with_pairs = [one for one in groups if one.pairs]
    differences = [one.differences.oriented(one.pairs) for one in with_pairs]
    columns = _columns(differences, config, temperature)
    items: list[PreferenceItem] = []
    for one, pairs in zip(with_pairs, columns, strict=True):
        items += _items(one, pairs, whole=config.alignment.whole_lists)
    return items


def _columns(
    differences: Sequence[Differences], config: SemiOnlineConfig, temperature: float | None
) -> list[Pairs]:
    """Return the comparisons of each group with coefficients and strengths."""
    columns = []
    for of_group in differences:
        pairs = Pairs.unweighted([Comparison(*pair) for pair in of_group.pairs])
        strengths = config.strength_scale * of_group.mean
        columns.append(replace(pairs, strengths=tuple(strengths.tolist())))
    if config.coefficient is None or not columns:
        return columns
    if config.coefficient.calibrated and temperature is not None:
        differences = [of_group.over(temperature) for of_group in differences]
    if _all_doubted(differences, config.coefficient):
        return [Pairs((), ()) for _ in differences]
    weighed = weigh(differences, config.coefficient)
    return [pairs.weighed(*weighed.of_group(place)) for place, pairs in enumerate(columns)]


def _all_doubted(differences: Sequence[Differences], config: CoefficientConfig) -> bool:
    """Return whether no lower bound is above 0: in a small draw that may be, and is no error."""
    leaves_out = config.negative == "drop" or (config.negative == "clip" and config.alpha > 0)
    if not (config.lower and leaves_out):
        return False
    together = joined(differences)
    bounds = lower_bounds(together.mean, together.spread, config.lower)
    return bool((bounds <= 0).all())


def _items(one: Judged, pairs: Pairs, *, whole: bool) -> list[PreferenceItem]:
    """Return a group's items on the tokens that were drawn, with log ρ of each response."""
    group = replace(one.group, scores=tuple(one.scores.tolist()))
    rollout = one.rollout
    encoded = Encoded(group, rollout.tree.nodes[0].tokens, tuple(rollout.responses))
    reference: dict[Tokens, float] = {}
    if rollout.reference:
        reference = dict(zip(rollout.responses, sums_of(rollout, "reference"), strict=True))
    items = []
    for item in preference_items(encoded, pairs, whole=whole):
        logps = [reference[node.tokens] for node in item.tree.nodes[1:] if reference]
        items.append(replace(item, reference=tuple(logps)))
    return items


def sums_of(rollout: Rollout, column: str) -> list[float]:
    """Return the sum of a column of tokens over each response."""
    values = getattr(rollout, column)
    sums = []
    start = 0
    for length in rollout.lengths:
        sums.append(sum(values[start : start + length]))
        start += length
    return sums
