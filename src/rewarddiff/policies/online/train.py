"""From prompts and a reward to a policy that is trained on its own samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from rewarddiff import launch
from rewarddiff.chat_template import as_they_stand, untemplated
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.loop.optimizers import hold
from rewarddiff.loop.train import TrainResult, train
from rewarddiff.paths import user_path
from rewarddiff.policies.online.actor import VALUE_HEAD, save_value_head
from rewarddiff.policies.online.baselines import is_due
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions, Scores, with_baselines
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import OnlinePrompt, online_prompts
from rewarddiff.policies.online.semi import SemiOnline
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.processes import done_by_every_process, own_share
from rewarddiff.records import Group

logger = logging.getLogger(__name__)


def train_online(
    model: PreTrainedModel,
    prompts: Sequence[Group],
    reward: RewardFunctions | Scores,
    config: OnlineConfig | SemiOnlineConfig,
    *,
    encoder: Encoder,
    output: Path,
    identity: str = "",
    seed: int = 0,
    name: str = "policy",
    ledger: Ledger | None = None,
    max_drop: float = 1.0,
) -> TrainResult:
    """Train `model` in place, from where it stands or from where it was interrupted.

    A checkpoint is left in `output`, for the case that saving the model is interrupted:
    `discard_checkpoint` removes it.

    Args:
        model: a causal LM, with its adapter already around it where one is wanted (`with_adapter`).
        prompts: groups whose prompts are answered. Their responses are the baseline, where the
            reward has one, and else of no use. Where `config.baseline` is given, and a prompt brings
            none, they are drawn before the first turn.
        reward: functions that score responses, or the one that gives r.
        identity: what the reward is; a checkpoint of another one is refused.
        ledger: counts the prompts; None: one of its own.
        max_drop: the share of prompts that may be dropped.

    Raises:
        UserError: reward, estimator and prompts do not go together, no prompt can be used, or a
            reward is not usable, and no update was made with it; or there never was any to make.
        TrainingError: a loss or a gradient is not finite, and no update was made with it.
    """
    functions = _checked(reward, config)
    ledger = Ledger() if ledger is None else ledger
    items = online_prompts(prompts, encoder, config.max_new_tokens, ledger)
    ledger.enforce(max_drop if items else 0.0)
    if ledger.dropped or ledger.changed:
        logger.warning("%s: %s", name, ledger)
    texts = untemplated(encoder.tokenizer, (item.group.prompt for item in items))
    if texts:
        logger.warning("%s: %s", name, as_they_stand(texts, "row"))
    _warn_of_small_turns(config, len(items), name)
    hold(list(model.parameters()), config.train)  # the reference is what training begins with
    objective = _objective(LogProbs(model), items, functions, config, encoder, seed, identity)
    result = train(objective, items, output=output, config=config.train, seed=seed, name=name)
    if isinstance(config, SemiOnlineConfig) and all(line.get("skipped") for line in result.curve):
        raise UserError(
            f"{name}: no draw gave pairs to train on: the reward finds all samples of a prompt "
            "alike, or scores too few; look at what scores them, or raise temperature or "
            "num_generations"
        )
    if launch.is_main():
        _leave_value_head(objective, config, output / VALUE_HEAD)
    return result


def _objective(
    policy: LogProbs,
    items: Sequence[OnlinePrompt],
    functions: RewardFunctions,
    config: OnlineConfig | SemiOnlineConfig,
    encoder: Encoder,
    seed: int,
    identity: str,
) -> Any:
    """Return what trains the policy. Of no type: it makes its items of prompts, and the loop's are these."""
    if isinstance(config, SemiOnlineConfig):
        return SemiOnline(policy, encoder, functions, config, seed=seed, identity=identity)
    # What a checkpoint is of are the prompts as they came: a scorer may round otherwise today.
    complete = items
    if not is_due(config.baseline, items, 0):
        complete = _with_scores(items, functions, config)
    return Online(
        policy, encoder, functions, config, prompts=complete, seed=seed, identity=identity
    )


def _checked(
    reward: RewardFunctions | Scores, config: OnlineConfig | SemiOnlineConfig
) -> RewardFunctions:
    """Return the functions of a reward that goes together with the options."""
    functions = reward if isinstance(reward, RewardFunctions) else RewardFunctions(reward)
    if isinstance(config, OnlineConfig):
        config.check(pointwise=functions.pointwise, has_r=functions.scores is not None)
    else:
        config.check(functions)
    return functions


def _leave_value_head(objective: Any, config: OnlineConfig | SemiOnlineConfig, place: Path) -> None:
    """Save the value head where that is asked for; the head of an earlier policy goes with it."""
    start = None
    if isinstance(config, OnlineConfig):
        if config.save_value_head:
            save_value_head(objective.module.value_head, place)
            return
        start = config.value_head
    is_start = start is not None and user_path(start).resolve() == place.resolve()
    if not is_start:
        place.unlink(missing_ok=True)


def _with_scores(
    items: Sequence[OnlinePrompt], functions: RewardFunctions, config: OnlineConfig
) -> list[OnlinePrompt]:
    """Return prompts whose own stored responses have what the reward reads of them."""

    mine = own_share(len(items))

    def scored() -> dict[int, Group]:
        groups = [items[place].group for place in mine]
        complete = with_baselines(config.reward, functions, groups, unscored=config.unscored)
        return dict(zip(mine, complete, strict=True))

    by_place: dict[int, Group] = {}
    for part in done_by_every_process(scored):
        by_place |= part
    return [replace(item, group=by_place[place]) for place, item in enumerate(items)]


def _warn_of_small_turns(config: OnlineConfig | SemiOnlineConfig, prompts: int, name: str) -> None:
    """Say where there are fewer prompts than a turn is of, so that its steps are smaller."""
    steps = config.turns.minibatches
    asked = config.train.batch_size * steps
    if prompts < asked:
        logger.warning(
            "%s: %d prompts, and a turn is of %d (batch_size %d, %d steps): its steps are of %.3g",
            name,
            prompts,
            asked,
            config.train.batch_size,
            steps,
            prompts / steps,
        )
