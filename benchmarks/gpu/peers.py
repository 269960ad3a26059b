"""Parts of the peers, at the settings that serve them best.

TRL: batches of similar lengths (each optimizer step's rows are sorted by length before they are cut),
reference log-probabilities before training, no recomputed activations, FlashAttention 2 where it is
installed, and the largest batch that fits. Its padding-free training of DPO is switched off in this
release.
"""

from __future__ import annotations

import dataclasses
import gc
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.contest import BETA, LEARNING_RATE
from benchmarks.gpu.figures import Figures, clock, figures, reset_memory
from benchmarks.gpu.shapes import Shape, causal_lm, classifier
from benchmarks.gpu.work import Load, pairs, policy_items, word_tokenizer
from rewarddiff.records import Group

FEWEST = 1
"""Pairs at once: with fewer nothing is tried any more."""


def trl_dpo(shape: Shape, device: str) -> Figures:
    return _largest_that_fits(_trl_dpo, shape, device)


def trl_reward(shape: Shape, device: str) -> Figures:
    return _largest_that_fits(_trl_reward, shape, device)


def _largest_that_fits(run: Callable[[Shape, str], Figures], shape: Shape, device: str) -> Figures:
    """Run with as many rows at once as memory allows."""
    while True:
        try:
            return run(shape, device)
        except torch.OutOfMemoryError:
            if shape.rows <= FEWEST:
                raise
        shape = replace(shape, rows=shape.rows // 2)
        gc.collect()
        torch.cuda.empty_cache()


def _trl_dpo(shape: Shape, device: str) -> Figures:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    class Timed(DPOTrainer):
        reference_seconds = 0.0

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            start = clock()
            dataset = super()._precompute_ref_logps(*args, **kwargs)
            self.reference_seconds += clock() - start
            return dataset

    reset_memory()
    groups = _in_batches_of_similar_length(shape)
    more = {"precompute_ref_log_probs": True, "beta": BETA}
    model = with_best_attention(causal_lm(shape, device))
    trainer, ends = _trained(Timed, DPOConfig, model, groups, shape, device, more)
    counted = policy_items(_counted(groups, shape), word_tokenizer())
    return figures(
        shape,
        Load.of_policy(counted),
        groups=len(counted),
        seconds=ends[-1] - ends[shape.warm - 1],
        pairs_at_once=shape.rows,
        attention=model.config._attn_implementation,
        reference_groups_per_second=len(groups) / trainer.reference_seconds,
    )


def _trl_reward(shape: Shape, device: str) -> Figures:
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    reset_memory()
    groups = _in_batches_of_similar_length(shape)
    model = with_best_attention(classifier(shape, device))
    _, ends = _trained(RewardTrainer, RewardConfig, model, groups, shape, device, {})
    counted = policy_items(_counted(groups, shape), word_tokenizer())
    return figures(
        shape,
        Load(Load.of_policy(counted).tokens),
        groups=len(counted),
        seconds=ends[-1] - ends[shape.warm - 1],
        pairs_at_once=shape.rows,
        attention=model.config._attn_implementation,
    )


def _checkpointing_key(config_class: Any) -> str:
    """Return what the installed transformers calls the setting that computes activations anew."""
    names = {field.name for field in dataclasses.fields(config_class)}
    newer = "activation_checkpointing"
    return newer if newer in names else "gradient_checkpointing"


def _trained(
    trainer_class: Any,
    config_class: Any,
    model: Any,
    groups: list[Group],
    shape: Shape,
    device: str,
    more: dict[str, Any],
) -> tuple[Any, list[float]]:
    """Train one epoch by TRL; return the trainer, and the clock at the end of every step."""
    from datasets import Dataset, disable_progress_bars
    from transformers import TrainerCallback

    class StepClock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.ends.append(clock())

    disable_progress_bars()
    rows = []
    for group in groups:
        chosen, rejected = group.responses
        rows.append({"prompt": group.prompt, "chosen": chosen, "rejected": rejected})
    at_once = min(shape.rows, shape.batch)
    steps = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        settings = config_class(
            folder,
            use_cpu=device == "cpu",
            bf16=True,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=shape.batch // at_once,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            max_length=None,
            **{_checkpointing_key(config_class): False},
            train_sampling_strategy="sequential",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **more,
        )
        trainer = trainer_class(
            model,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=word_tokenizer(),
            callbacks=[steps],
        )
        trainer.train()
    return trainer, steps.ends


def _in_batches_of_similar_length(shape: Shape) -> list[Group]:
    """Return the rows of every optimizer step sorted by length: least padding within a step."""
    groups = pairs(shape.batch * (shape.warm + shape.steps))
    ordered = []
    for start in range(0, len(groups), shape.batch):
        ordered += sorted(groups[start : start + shape.batch], key=_length)
    return ordered


def _length(group: Group) -> int:
    return len(str(group.prompt).split()) + max(len(text.split()) for text in group.responses)


def _counted(groups: list[Group], shape: Shape) -> list[Group]:
    return groups[shape.warm * shape.batch :]


def with_best_attention(model: Any) -> Any:
    """Switch to FlashAttention 2 where it is installed and the model runs on a GPU."""
    if model.device.type == "cuda" and find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
    return model


def flash_pref_dpo(shape: Shape, device: str) -> Figures:
    """Forward and backward passes of DPO's rows with flash-pref's shared prefixes.

    Without an optimizer and without a reference pass: what its own benchmark measures.
    """
    from flash_pref import shared_prefix

    reset_memory()
    model = with_best_attention(causal_lm(shape, device))
    items = policy_items(_in_batches_of_similar_length(shape), word_tokenizer())
    ends: list[float] = []
    for start in range(0, len(items), shape.rows):
        rows = []
        for item in items[start : start + shape.rows]:
            root, *branches = item.tree.nodes
            rows += [torch.tensor(root.tokens + branch.tokens) for branch in branches]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        mask = (ids != 0).long()
        precise = torch.autocast(device, torch.bfloat16, enabled=not shape.bf16_weights)
        with precise, shared_prefix(model, input_ids=ids, attention_mask=mask):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            logps = logits[:, :-1].log_softmax(-1, dtype=torch.float32)
            logps.gather(-1, ids[:, 1:, None]).sum().backward()
        model.zero_grad()
        ends.append(clock())
    warm = max(1, len(ends) // 4)
    counted = items[warm * shape.rows :]
    return figures(
        shape,
        Load.of_policy(counted),
        groups=len(counted),
        seconds=ends[-1] - ends[warm - 1],
        measures="forward and backward only",
    )
