"""Training a policy on its own samples, with any scorer, as Python calls it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.contents import contents
from rewarddiff.models.cards import Facts
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.online_baseline import beside, read_stored
from rewarddiff.pipeline.placing import check_model_place, complete
from rewarddiff.pipeline.planning import check_onlines_rows
from rewarddiff.pipeline.reward_functions import functions_of
from rewarddiff.policies.online import train as online
from rewarddiff.policies.online.card import settings_of
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions, Scores
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.policy import PolicyConfig, save_trained, start_of
from rewarddiff.processes import once
from rewarddiff.records import Group
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.scoring.identity import identity_of


def train_online(
    model: str | Path,
    prompts: Sequence[Group],
    reward: Scorer | RewardFunctions | Scores,
    config: OnlineConfig | SemiOnlineConfig | None = None,
    *,
    output: str | Path,
    max_prompt: int | None = None,
    seed: int = 0,
) -> Path:
    """Train a policy on its own samples, and return its Hugging Face folder `output/model`.

    Metrics, under the names of TRL, and checkpoints go to `output`. The same call again goes on
    where it was interrupted; after a training that has ended it trains anew, and the log says that
    the model there will be replaced.

    Args:
        model: the starting point, which is also the reference.
        prompts: groups whose prompts are answered. Their responses are the baseline, where the
            reward has one and `config.baseline` does not say where else it comes from; otherwise
            they are not read.
        reward: what scores the samples: a scorer, or a function that gives r of every response of
            each group, or `RewardFunctions` of r and d.
        config: every option; of policy gradients, or of pairs that are drawn anew every few steps.
            None: PPO with a value head, on r as it is.
        max_prompt: tokens; a longer prompt keeps its end.

    Raises:
        UserError: `output/model` is a model that training starts from, or a scorer; another
            training writes to `output`; a prompt has no room in memory by itself; model, prompts,
            reward and options do not go together; a reward is not usable, and no update was made
            with it.
        TrainingError: a loss or a gradient is not finite; no update was made with it.

    >>> def short(groups):
    ...     return [[-len(response) for response in group.responses] for group in groups]
    >>> train_online("my-sft-model", load_groups("prompts.jsonl"), short, output="runs/short")
    ... # doctest: +SKIP
    """
    config, folder = config or OnlineConfig(), user_path(output)
    lengths = LengthConfig(max_prompt=max_prompt, max_response=config.max_new_tokens)
    once(lambda: check_model_place(folder, [model], scorer=False))
    once(lambda: check_onlines_rows(model, config, lengths, prompts))
    with run_folder_for(folder):
        _train(model, prompts, reward, config, folder, lengths, seed)
    return folder / "model"


def _train(
    model: str | Path,
    prompts: Sequence[Group],
    reward: Scorer | RewardFunctions | Scores,
    config: OnlineConfig | SemiOnlineConfig,
    folder: Path,
    lengths: LengthConfig,
    seed: int,
) -> None:
    policy, tokenizer = start_of(model, PolicyConfig(lora=config.lora, train=config.train), seed)
    online.train_online(
        policy,
        _with_stored(prompts, config),
        functions_of(reward, spread=isinstance(config, SemiOnlineConfig) and config.reads_spread),
        config,
        encoder=Encoder(tokenizer, lengths, models.context_length(model)),
        output=folder,
        identity=_identity(reward),
        seed=seed,
    )
    settings = settings_of(config, Path(_name(reward)).name or "a function")
    facts = Facts(base=str(model), counts={"prompts": len(prompts)}, settings=settings)
    save_trained(policy, tokenizer, folder, config.lora, facts=facts, objective=config.method)
    once(lambda: complete(folder))


def _with_stored(prompts: Sequence[Group], config: OnlineConfig | SemiOnlineConfig) -> list[Group]:
    """Return prompts with the stored responses of a file; without any where they are to be drawn.

    The file's scores are of some scorer, and not known to be in the reward's unit: it scores anew.
    """
    if isinstance(config, SemiOnlineConfig) or config.baseline is None:
        return list(prompts)
    if config.baseline.file is None:
        return [prompt.with_responses(()) for prompt in prompts]
    stored = read_stored(config.baseline.file, prompts, config)
    return beside(stored, prompts, with_scores=False)


def _identity(reward: Scorer | RewardFunctions | Scores) -> str:
    """Return a hash of what a reward is: a checkpoint of another one is refused."""
    if isinstance(reward, NeuralScorer):
        return identity_of(reward)
    return contents(reward)


def _name(reward: Any) -> str:
    """Return what a card calls a reward: its name, as far as it has one."""
    if isinstance(reward, Scorer):
        return reward.name
    return str(getattr(reward, "__qualname__", ""))
