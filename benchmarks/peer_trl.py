"""DPO by TRL, with its defaults but for what the contest fixes (docs/benchmarks.md lists it)."""

from __future__ import annotations

import gc
import tempfile
import time
from typing import Any, cast

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.contest import (
    BATCH,
    BETA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    WEIGHT_DECAY,
    Outcome,
    Task,
    counted,
    serve,
    steps_of,
)
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import read_rows


class StepClock(TrainerCallback):
    """The clocks, of the wall and of the processors, at the end of each optimizer step."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())


class TimedDPOTrainer(DPOTrainer):
    """DPOTrainer that measures its reference pass before training (0 s where steps contain it)."""

    reference_seconds = 0.0

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args, **kwargs)
        self.reference_seconds += time.perf_counter() - start
        return dataset


def config(task: Task, folder: str) -> DPOConfig:
    return DPOConfig(
        folder,
        precompute_ref_log_probs=task.precompute,
        beta=BETA,
        **trainer_options(task),
    )


def trainer_options(task: Task) -> dict[str, Any]:
    """Return TRL's options but for its defaults (bf16 autocast, fused AdamW among them)."""
    return {
        "use_cpu": True,
        "bf16": task.precision == "bf16",
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "max_length": None,  # nothing is truncated
        "gradient_checkpointing": False,
        # The rows are shuffled already; both sides take the same batches.
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def run_trl(task: Task) -> Outcome:
    """Train one epoch of DPO on the task's rows."""
    disable_progress_bars()
    rows = read_rows(task.rows)
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    # float32 is the dtype in which TRL itself loads a model given by name.
    model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    touch(model)
    gc.collect()
    model_bytes = reset_peak()
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedDPOTrainer(
            model,
            args=config(task, folder),
            train_dataset=Dataset.from_list([row._asdict() for row in rows]),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    pairs, seconds = counted(clock.ends, steps_of(len(rows)), trainer.reference_seconds)
    timed = cast(Dataset, trainer.train_dataset).select(range(BATCH, len(rows)))
    return Outcome(
        pairs=pairs,
        seconds=seconds,
        prompt_tokens=sum(map(len, timed["prompt_ids"])),
        response_tokens=sum(map(len, timed["chosen_ids"])) + sum(map(len, timed["rejected_ids"])),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


if __name__ == "__main__":
    serve(run_trl)
