"""Ways to make one optimizer step of online training on the same rollouts.

    trees     as this project trains: each prompt once, micro-batches of 2,048 tokens
    fallback  the same code, with rows as it lays them out for models that cannot read trees
    plain     as it is usually written: a row for each sample, sorted by length, eight at a time,
              padded to the longest of the eight; logits of all response tokens, and their
              log-softmax, are kept
    trl       TRL's GRPOTrainer.training_step, eight rows at a time, padded as it pads what it has
              sampled: prompts to the longest of all, and so responses

All have the same loss, that of GRPO without KL (TRL's default), the same clipping and AdamW. Its
learning rate is 0, so that every step starts from the same weights; it computes the same for that.

What goes through the body, in tokens, for prompts of p tokens and k responses of r: p + kr in trees,
k(p + r) in rows without padding; the head reads kr in all but TRL's way, where it reads everything.
At HH's means, p = 125 and r = 45, trees of four read 2.2 times fewer, at r = 128 1.6 times.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.contest import BATCH, MAX_GRAD_NORM, Precision
from benchmarks.rollouts import SAMPLES, Sample, samples_of
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.forward import ATTENTION, LogProbs, Trunk, switch_dropout_off
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.trees import microbatches

Way = Literal["trees", "fallback", "plain", "trl"]
WAYS: tuple[Way, ...] = ("trees", "fallback", "plain", "trl")
EPSILON = 0.2
Backward = Callable[[Sequence[Rollout]], float]
"""Adds up the gradient of all rollouts, and returns the loss."""


def autocast(precision: Precision) -> Any:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def by_objective(objective: Online, precision: Precision) -> Backward:
    """As the loop does it: micro-batches of similar lengths, sums over the global count."""

    def backward(rollouts: Sequence[Rollout]) -> float:
        switch_dropout_off(objective.module)
        count = sum(map(objective.count, rollouts))
        shortest_first = sorted(rollouts, key=objective.size)
        sizes = [objective.size(rollout) for rollout in shortest_first]
        loss = 0.0
        for cut in microbatches(sizes, objective.options.train.microbatch_tokens):
            items = [shortest_first[place] for place in cut]
            with autocast(precision):
                output = objective.loss(objective.module, items)
            (output.loss / count).backward()
            loss += output.loss.item() / count
        return loss

    return backward


@contextmanager
def as_rows(trunk: Trunk) -> Iterator[None]:
    """Let a model be read as one that cannot read trees."""
    trunk.plain = True
    trunk.inner.set_attn_implementation("sdpa")
    yield
    trunk.plain = False
    trunk.inner.set_attn_implementation(ATTENTION)


def by_fallback(objective: Online, precision: Precision) -> Backward:
    in_rows = by_objective(objective, precision)

    def backward(rollouts: Sequence[Rollout]) -> float:
        with as_rows(objective.module.policy.trunk):
            return in_rows(rollouts)

    return backward


def padded(columns: Sequence[Sequence[float]], side: str = "right") -> Tensor:
    """Return rows of numbers, filled up with 0."""
    return pad_sequence(list(map(torch.tensor, columns)), batch_first=True, padding_side=side)


def mask_of(columns: Sequence[Sequence[float]], side: str = "right") -> Tensor:
    """Return 1 where `padded` has numbers, and 0 where it has filled up."""
    return padded([[1] * len(column) for column in columns], side)


def by_plain_rows(model: Any, precision: Precision) -> Backward:
    """As it is usually written; nothing of this project but the model."""

    def loss_of(batch: Sequence[Sample]) -> Tensor:
        ids = padded([[*sample.prompt, *sample.response] for sample in batch])
        mask = mask_of([[*sample.prompt, *sample.response] for sample in batch])
        targets = padded([sample.response for sample in batch])
        is_token = mask_of([sample.response for sample in batch]).bool()
        starts = torch.tensor([len(sample.prompt) - 1 for sample in batch])
        read = (starts[:, None] + torch.arange(targets.shape[1])).clamp(max=ids.shape[1] - 1)
        with autocast(precision):
            states = model.model(input_ids=ids, attention_mask=mask, use_cache=False)[0]
            states = states.gather(1, read[..., None].expand(-1, -1, states.shape[-1]))
            logits = model.lm_head(states)
        logps = logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        ratio = (logps - padded([sample.logps for sample in batch])).exp()
        advantages = torch.tensor([[sample.advantage] for sample in batch])
        clipped = ratio.clamp(1 - EPSILON, 1 + EPSILON)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        return (losses * is_token).sum()

    def backward(rollouts: Sequence[Rollout]) -> float:
        model.eval()  # no dropout
        model.set_attn_implementation("sdpa")
        samples = samples_of(rollouts)
        count = sum(len(sample.response) for sample in samples)
        samples.sort(key=lambda sample: len(sample.prompt) + len(sample.response))
        loss = 0.0
        for start in range(0, len(samples), BATCH):
            total = loss_of(samples[start : start + BATCH])
            (total / count).backward()
            loss += total.item() / count
        model.set_attn_implementation(ATTENTION)
        return loss

    return backward


def by_trl(model: Any, tokenizer: Any, precision: Precision, folder: str) -> Backward:
    """TRL's own training step, on rollouts in place of what it would sample.

    Args:
        model: TRL changes it.
    """
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = GRPOConfig(
        folder, use_cpu=True, bf16=precision == "bf16", per_device_train_batch_size=BATCH,
        num_generations=SAMPLES, num_iterations=2, epsilon=EPSILON, beta=0.0, loss_type="dapo",
        gradient_checkpointing=False, logging_strategy="no", save_strategy="no", report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    trainer: Any = GRPOTrainer(
        model=model,
        reward_funcs=lambda **_: [],
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "never sampled from"}]),
        processing_class=tokenizer,
    )

    def backward(rollouts: Sequence[Rollout]) -> float:
        samples = samples_of(rollouts)
        steps = len(samples) // BATCH
        prompts = [sample.prompt for sample in samples]
        responses = [sample.response for sample in samples]
        count = sum(map(len, responses))
        columns = {
            "prompt_ids": padded(prompts, "left"),
            "prompt_mask": mask_of(prompts, "left"),
            "completion_ids": padded(responses),
            "completion_mask": mask_of(responses),
            "old_per_token_logps": padded([sample.logps for sample in samples]),
            "advantages": torch.tensor([sample.advantage for sample in samples]),
        }
        trainer._buffered_inputs = []
        for i in range(steps):
            part = slice(i * BATCH, (i + 1) * BATCH)
            batch = {name: column[part] for name, column in columns.items()}
            batch["num_items_in_batch"] = torch.tensor(count)
            trainer._buffered_inputs.append(batch)
        # In the second of two iterations it takes what is there.
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = steps
        trainer._step = steps
        loss = 0.0
        for _ in range(steps):
            loss += trainer.training_step(model, [], None).item()
        return loss

    return backward


# -- the update ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Update:
    """One optimizer step: forward, backward, clipping and AdamW.

    Attributes:
        tokens: that went through the body, padding included.
        responses, response_tokens: that were trained on.
        loss: of all rollouts.
    """

    seconds: float
    tokens: int
    responses: int
    response_tokens: int
    loss: float

    @property
    def rate(self) -> float:
        return self.responses / self.seconds

    def __str__(self) -> str:
        rate = self.response_tokens / self.seconds
        return f"{self.seconds:.2f} s, {self.tokens:,} tokens read, {rate:.0f} response tokens/s"


class Updater:
    """One way, with the model it trains and its optimizer.

    Attributes:
        tokens: that went through the body in this step, padding included.
    """

    def __init__(self, backward: Backward, model: Any, optimizer: Any) -> None:
        self.backward = backward
        self.model = model
        self.optimizer = optimizer
        self.tokens = 0
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        self.tokens += inputs[0].numel()

    def gradient(self) -> list[Tensor]:
        return [p.grad.clone() for p in self.model.parameters() if p.grad is not None]

    def step(
        self, rollouts: Sequence[Rollout], look: Callable[[Updater], None] | None = None
    ) -> Update:
        """Make one optimizer step.

        Args:
            look: at gradients, which takes no time.
        """
        start = time.perf_counter()
        self.tokens = 0
        loss = self.backward(rollouts)
        seconds = time.perf_counter() - start
        if look is not None:
            look(self)
        start = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds += time.perf_counter() - start
        return Update(
            seconds=seconds,
            tokens=self.tokens,
            responses=sum(len(rollout.ended) for rollout in rollouts),
            response_tokens=sum(sum(rollout.lengths) for rollout in rollouts),
            loss=loss,
        )


def updaters(
    model: Any, tokenizer: Any, precision: Precision, folder: str, *, trl: bool
) -> tuple[Online, dict[Way, Updater]]:
    """Return the objective, and every way; TRL's has a copy of the model."""
    config = OnlineConfig(
        advantage=AdvantageConfig("grpo"),
        kl=KLConfig(kl_coef=0.0),
        num_generations=SAMPLES,
        epsilon=EPSILON,
        train=TrainConfig(precision=precision),
    )
    theirs = copy.deepcopy(model) if trl else None
    encoder = Encoder(tokenizer, LengthConfig(max_prompt=None, max_response=1_000_000))
    objective = Online(LogProbs(model), encoder, RewardFunctions(lambda _: []), config)
    settings: Any = {"lr": 0.0, "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(model.parameters(), **settings)
    ways: dict[Way, Updater] = {
        "trees": Updater(by_objective(objective, precision), model, optimizer),
        "fallback": Updater(by_fallback(objective, precision), model, optimizer),
        "plain": Updater(by_plain_rows(model, precision), model, optimizer),
    }
    if theirs is not None:
        optimizer = torch.optim.AdamW(theirs.parameters(), **settings)
        backward = by_trl(theirs, tokenizer, precision, folder)
        ways["trl"] = Updater(backward, theirs, optimizer)
    return objective, ways
