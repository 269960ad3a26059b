"""What the loop trains: a policy on responses that it samples itself, anew in every turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from rewarddiff.encoding import Encoder
from rewarddiff.forward import LogProbs, switch_dropout_off
from rewarddiff.loop.objective import LossOutput, TrainConfig, Turns
from rewarddiff.losses.online import (
    aggregated,
    clipped_surrogate,
    clipped_value_loss,
    counted,
    kl_estimate,
    sequence_log_ratio,
)
from rewarddiff.paths import user_path
from rewarddiff.policies.online import metrics
from rewarddiff.policies.online.actor import Actor, Reading
from rewarddiff.policies.online.baselines import Baselines, drawn_baselines, is_due, needed
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.frozen import Frozen
from rewarddiff.policies.online.group_rewards import RewardFunctions, group_rewards
from rewarddiff.policies.online.kl import KLController
from rewarddiff.policies.online.rollouts import (
    OnlinePrompt,
    Rollout,
    read,
    rows_of,
    with_columns,
)
from rewarddiff.policies.online.samples import scored_samples
from rewarddiff.policies.online.turn import Scored, turn_of
from rewarddiff.records import Group
from rewarddiff.rewards import RunningScale
from rewarddiff.trees import Packed


class Online:
    """A policy that is trained on its own samples: PPO and its relatives.

    Args:
        policy: as it starts. The reference is this policy without its adapters, or else a copy of
            it; there is none where the KL counts nothing.
        encoder: reads and writes texts for it.
        functions: score responses.
        prompts: all that are trained on, with the scores of the stored responses that they bring; for
            those that are drawn on the way, too.
        identity: what the functions are; a checkpoint of others is refused.

    Attributes:
        config, besides: what a checkpoint has to be of.
    """

    def __init__(
        self,
        policy: LogProbs,
        encoder: Encoder,
        functions: RewardFunctions,
        options: OnlineConfig,
        *,
        prompts: Sequence[OnlinePrompt] = (),
        seed: int = 0,
        identity: str = "",
    ) -> None:
        self.options = options
        self.config = replace(options, train=TrainConfig())  # the loop knows its own
        self.besides = {"rewards": identity, "reading": encoder.fingerprint}
        self.encoder = encoder
        self.functions = functions
        self.prompts = prompts
        self.seed = seed
        self.reference = None if options.kl.kl_coef == 0 else Frozen(policy)
        self.module = Actor(
            policy,
            temperature=options.temperature,
            with_values=options.has_values,
            value_head=None if options.value_head is None else user_path(options.value_head),
        )
        self._kl = KLController.begin(options.kl)
        self._scale = RunningScale(options.reward.scale)
        self._baselines = Baselines({})
        self._pool: list[Rollout] = []
        self._kl_coef = self._kl.value  # of the turn that is trained on
        self._metrics: dict[str, float] = {}

    # -- what the loop asks -------------------------------------------------------------------

    @property
    def turns(self) -> Turns:
        return self.options.turns

    def size(self, item: Rollout) -> int:
        return len(item.tree)

    def count(self, item: Rollout) -> float:
        """Return the tokens, or responses, that the losses of a rollout are counted as."""
        mask = _mask([item], item.lengths)
        return counted(
            mask,
            loss_agg_mode=self.options.aggregation,
            max_tokens=self.options.max_new_tokens,
        )

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return self.module.parameter_groups(config)

    def note(self, line: Mapping[str, float]) -> str:
        return metrics.note(line)

    def summary(self, means: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
        """Return a step's metrics, with those of the rollouts that it trains on."""
        return {**means, **self._metrics}

    def kept(self) -> dict[str, Any]:
        return {
            "kl": self._kl.value,
            "kl_coef": self._kl_coef,
            "scale": self._scale.state(),
            "baselines": self._baselines.plain(),
            "metrics": self._metrics,
            "rollouts": [rollout.plain() for rollout in self._pool],
        }

    def go_on(self, state: dict[str, Any]) -> list[Rollout]:
        self._kl = replace(self._kl, value=state["kl"])
        self._kl_coef = state["kl_coef"]
        self._scale = self._scale.resumed(state["scale"])
        self._baselines = Baselines.resumed(state["baselines"], self.prompts)
        self._metrics = state["metrics"]
        self._pool = [Rollout.of(plain) for plain in state["rollouts"]]
        return self._pool

    # -- a turn: sample, read, score ----------------------------------------------------------

    def renew(self, module: nn.Module, items: Sequence[OnlinePrompt], turn: int) -> list[Rollout]:
        """Return rollouts of all prompts, with their advantages.

        Raises:
            UserError: a reward is not usable.
        """
        began = time.perf_counter()
        baselines = self._baselines_of(turn)
        seconds_of_baselines = time.perf_counter() - began
        scored, seconds = scored_samples(
            self.module.policy.model,
            self.encoder,
            items,
            self.options,
            seed=self.seed,
            turn=turn,
            read=partial(self._read, module),
            score=partial(self._scored, baselines),
        )
        seconds["time/sampling"] += seconds_of_baselines
        self._take(scored, baselines, seconds)
        return self._pool

    def _as_scored(self, prompt: OnlinePrompt) -> OnlinePrompt:
        """Return a prompt of the loop with the scores of its own stored responses."""
        if not self.prompts:
            return prompt
        return self.prompts[prompt.place]

    def _baselines_of(self, turn: int) -> Baselines:
        """Return the stored responses of a turn; where that is due, drawn anew for it."""
        if not is_due(self.options.baseline, self.prompts, turn):
            return self._baselines
        return drawn_baselines(
            self.module.policy.model,
            self.encoder,
            needed(self.prompts, turn, self.options, self.seed),
            self.functions,
            self.options,
            seed=self.seed,
            turn=turn,
        )

    def _read(self, module: nn.Module, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Return rollouts with log π, log ρ and V of their tokens, by one tree a group."""
        switch_dropout_off(module)  # sampling has switched checkpointed layers too

        def forward(packed: Packed) -> list[Tensor]:
            reading: Reading = module(packed)
            columns = [reading.logps]
            if reading.values is not None:
                columns.append(reading.values)
            if self.reference is not None:
                temperature = self.options.temperature
                columns.append(self.reference.logps(packed, temperature=temperature))
            return columns

        names = ["logps"]
        if self.options.has_values:
            names.append("values")
        if self.reference is not None:
            names.append("reference")
        tokens = self.options.train.pass_tokens
        columns = read(rollouts, self.module.policy.pack, forward, tokens)
        return with_columns(rollouts, names, columns)

    def _scored(
        self,
        baselines: Baselines,
        places: Sequence[int],
        prompts: Sequence[OnlinePrompt],
        rollouts: Sequence[Rollout],
        groups: Sequence[Group],
    ) -> list[Scored]:
        """Return this process's rollouts with their rewards."""
        stored = [baselines.of(self._as_scored(prompt)) for prompt in prompts]
        rewards = group_rewards(self.options.reward, self.functions, groups, stored)
        return [Scored(*parts) for parts in zip(places, rollouts, rewards, strict=True)]

    def _take(
        self, scored: Sequence[Scored], baselines: Baselines, seconds: dict[str, float]
    ) -> None:
        """Train on these rollouts from now on."""
        kl_coef = self._kl.value
        turn, scale = turn_of(scored, self._scale, self.options, kl_coef=kl_coef)
        kl = self._kl
        if turn.kl is not None:
            kl = kl.update(turn.kl_of_responses, n_steps=int(turn.mask.any(-1).sum()))
        in_reward = self.options.kl.placement == "reward"
        of_turn = metrics.of_turn(turn, kl_coef=kl_coef, kl_in_reward=in_reward)
        # Nothing has changed until here, where all has gone well.
        self._kl, self._kl_coef, self._scale, self._baselines = kl, kl_coef, scale, baselines
        self._pool, self._metrics = turn.rollouts, {**of_turn, **seconds}

    # -- a micro-batch ------------------------------------------------------------------------

    def loss(self, module: nn.Module, items: Sequence[Rollout]) -> LossOutput:
        packed = self.module.policy.pack([item.tree for item in items])
        reading: Reading = module(packed)
        lengths = [length for item in items for length in item.lengths]
        rows = partial(rows_of, lengths=lengths)

        def column(name: str) -> Tensor:
            flat = list(chain.from_iterable(getattr(item, name) for item in items))
            like = reading.logps
            return rows(torch.tensor(flat, dtype=like.dtype, device=like.device))

        logps = rows(reading.logps)
        mask = _mask(items, lengths).to(logps.device)
        log_ratio = torch.where(mask, logps - column("logps"), 0.0)
        advantages = column("advantages")
        options = self.options
        clipped = log_ratio
        if options.importance_sampling_level == "sequence":
            clipped = sequence_log_ratio(log_ratio, mask)
        losses = clipped_surrogate(
            clipped,
            advantages,
            epsilon=options.epsilon,
            epsilon_high=options.epsilon_high,
            delta=options.delta,
        )
        high = options.epsilon if options.epsilon_high is None else options.epsilon_high
        bounds = (1 - options.epsilon, 1 + high)
        shown = metrics.of_policy(log_ratio, clipped, advantages, mask, losses, bounds=bounds)
        if self.reference is not None and options.kl.placement == "loss":
            estimator = options.kl.kl_estimator
            kl = kl_estimate(logps, column("reference"), estimator=estimator)
            losses = losses + self._kl_coef * kl
        if reading.values is not None:
            values, old_values = rows(reading.values), column("values")
            clip = options.cliprange_value
            value_losses = clipped_value_loss(
                values, old_values, column("returns"), cliprange_value=clip
            )
            shown |= metrics.of_values(values, old_values, mask, value_losses, clip=clip)
            losses = losses + options.vf_coef * value_losses
        return LossOutput(aggregated(losses, mask, loss_agg_mode=options.aggregation), shown)


def _mask(items: Sequence[Rollout], lengths: Sequence[int]) -> Tensor:
    """Return which tokens are trained on, (responses, tokens)."""
    trained = torch.tensor([is_trained for item in items for is_trained in item.trained])
    is_token = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return is_token & trained[:, None]
