"""A tiny Llama that learns from its own samples, for tests of online training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import TrainResult
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.online.train import train_online
from rewarddiff.records import Group

STEADY = TrainConfig(
    precision="fp32", lr=1e-2, head_lr=1e-2, batch_size=4, max_steps=4, epochs=100.0, warmup=0.0,
    schedule="constant", max_grad_norm=0.0,
)  # fmt: skip
PROMPTS = [Group(f"g{i}", f"{'a' * (i % 3)}Prompt {i}:", ()) for i in range(8)]
BASELINES = [replace(group, responses=(" abc", " 123", " a1")) for group in PROMPTS]
"""Of which the scores are still to be asked for."""
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")

Reward = Callable[[Sequence[Group]], Any]


def short(**options: Any) -> OnlineConfig:
    """Four steps on responses of at most six tokens."""
    options = {"max_new_tokens": 6, "num_generations": 3, "train": STEADY, **options}
    return OnlineConfig(**options)


def semi(**options: Any) -> SemiOnlineConfig:
    """Two steps on the pairs of each draw, of responses of at most six tokens."""
    options = {
        "max_new_tokens": 6, "num_generations": 4, "steps_per_generation": 2,
        "train": replace(STEADY, batch_size=2), **options,
    }  # fmt: skip
    return SemiOnlineConfig(**options)


def llama(
    tokenizer: PreTrainedTokenizerFast, *, ends_often: float = 0.0, dtype: Any = torch.float32
) -> LlamaForCausalLM:
    """Draw a model; `ends_often` is about the logit of its end token, where others are 0 ± 1."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=24, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype)
    if ends_often:
        with torch.no_grad():
            states = model.eval().model(torch.arange(100)[None]).last_hidden_state[0]
            mean = states.mean(0)
            head = model.get_output_embeddings().weight
            head[tokenizer.eos_token_id] = ends_often * mean / mean.square().sum()
    return model


def reader(tokenizer: PreTrainedTokenizerFast, longest: int = 6) -> Encoder:
    return Encoder(tokenizer, LengthConfig(max_response=longest), 128)


def letters(groups: Sequence[Group]) -> list[list[float]]:
    """r: the share of small letters in a response, the easiest thing to learn."""
    rewards = []
    for group in groups:
        of_group = []
        for response in group.responses:
            count = sum(character in LETTERS for character in response)
            of_group.append(count / max(1, len(response)))
        rewards.append(of_group)
    return rewards


def at_call(number: int, action: Callable[[], None]) -> Callable[[Sequence[Group]], Any]:
    """The reward of letters, which does something at its `number`-th call."""
    calls = itertools.count(1)

    def reward(groups: Sequence[Group]) -> Any:
        if next(calls) == number:
            action()
        return letters(groups)

    return reward


def learn(
    tokenizer: PreTrainedTokenizerFast,
    output: Path,
    config: OnlineConfig | SemiOnlineConfig,
    *,
    reward: Any = letters,
    prompts: Sequence[Group] = PROMPTS,
    model: LlamaForCausalLM | None = None,
    **train: Any,
) -> tuple[LlamaForCausalLM, TrainResult]:
    """Train, and return the model and what the training gave; `train` are settings of the loop."""
    model = model or llama(tokenizer)
    config = replace(config, train=replace(config.train, **train))
    encoder = reader(tokenizer, config.max_new_tokens)
    result = train_online(model, prompts, reward, config, encoder=encoder, output=output)
    return model, result


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
