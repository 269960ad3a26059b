"""The one loop.

A global batch is a list of items fixed by (seed, epoch); micro-batches are cut by a token budget;
losses are summed and divided by the global count. So neither accumulation, nor packing, nor the
number of processes changes the result, with dropout off: what dropout drops is drawn by forward
pass.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from rewarddiff.errors import TrainingError, UserError
from rewarddiff.forward import switch_dropout_off
from rewarddiff.loop import sharding
from rewarddiff.loop.accelerator import accelerator_for
from rewarddiff.loop.batches import batches_of
from rewarddiff.loop.budget import Budget, GpuMemory
from rewarddiff.loop.faults import Faults
from rewarddiff.loop.identity import identity_of
from rewarddiff.loop.interrupts import stop_between_steps
from rewarddiff.loop.job import Job
from rewarddiff.loop.keeping import Keeper
from rewarddiff.loop.metrics import Line, Sums
from rewarddiff.loop.objective import LossOutput, Objective, Renewing, TrainConfig, note_of
from rewarddiff.loop.passes import Passes
from rewarddiff.loop.prepared import Prepared, checkpoint_layers
from rewarddiff.loop.probing import show
from rewarddiff.loop.recording import Recorder
from rewarddiff.loop.schedule import rate
from rewarddiff.machine import freed_memory_is_kept
from rewarddiff.processes import from_every_process
from rewarddiff.progress import task

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training gives besides the trained module: the last dev metrics and the cost."""

    steps: int
    dev: dict[str, float]
    cost: dict[str, Any]
    curve: list[Line] = field(default_factory=list)


def train(
    objective: Objective[Item],
    items: Sequence[Item],
    *,
    output: Path,
    config: TrainConfig,
    dev: Sequence[Item] = (),
    seed: int = 0,
    name: str = "training",
) -> TrainResult:
    """Train `objective.module` in place.

    Writes `output/metrics.jsonl` (a line per step, and one per dev evaluation) and, from time to
    time and on an interrupt, `output/checkpoint`; the same call again then goes on exactly where it
    stopped. The last checkpoint stays until `checkpoint.discard_checkpoint` is called, once what
    was trained is saved.

    Raises:
        TrainingError: a loss or gradient was not finite, and no update was made with it; or the
            weights are not finite.
        UserError: there is nothing to train on, or a checkpoint of something else is in the way.
        KeyboardInterrupt: it was told to stop; a checkpoint has been written.
    """
    if not items:
        raise UserError(
            f"{name}: there is nothing to train on; `rewarddiff check` shows what the data holds"
        )
    return _Run(Job(objective, items, dev, output, config, seed, name)).run()


class _Run:
    """One training: what it is made of, and its steps as short methods."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.objective, self.dev, self.config = job.objective, job.dev, job.config
        self.output, self.seed, self.name = job.output, job.seed, job.name
        self.accelerator = accelerator_for(job.config, job.output)
        self.whole = job.objective.module
        if job.config.gradient_checkpointing:
            checkpoint_layers(self.whole)
        if job.config.sharding == "fsdp" and isinstance(job.objective, Renewing):
            raise UserError(
                f"{self.name}: train.sharding: fsdp reads in equally many passes, and a policy that "
                "learns from its own samples does not; leave it out"
            )
        self._identity = cache(partial(identity_of, job, self.whole))
        if sharding.is_wanted(job.config):
            self._identity()  # of the whole
        self.prepared = Prepared(job, self.accelerator)
        self.module, self.optimizer = self.prepared.module, self.prepared.optimizer
        memory = GpuMemory() if self.accelerator.device.type == "cuda" else None
        self.budget = Budget(job.config, memory, job.name)
        self.passes = Passes(self.prepared, self.budget)
        self.batches = batches_of(job)
        self.due: dict[int, Any] = {}  # items of this step by their places in the pool
        self.faults = Faults(self.prepared, job.name)
        self.recorder = Recorder(job, self.accelerator, self.batches.steps_of_an_epoch)
        self.keeper = Keeper(
            job, self.prepared, self.batches, self.recorder, self.faults, self._identity
        )

    def run(self) -> TrainResult:
        self.faults.look_at_start()
        start, steps = self._resume(), self.batches.steps
        with (
            # Divided weights come and go in every pass, and are more than the steps' tensors.
            nullcontext() if self.prepared.divided else freed_memory_is_kept(),
            self.recorder.meter,
            stop_between_steps() as stopped,
            task(self.name, steps, before=start) as progress,
        ):
            self._between_steps(start, stopped)
            for step in range(start, steps):
                line = self._step(step)
                progress.advance(1, note_of(self.objective, line))
                self._between_steps(step + 1, stopped)
            self.faults.look_at_weights(steps)
        self._finish()
        metrics, cost = self.recorder.metrics, self.recorder.meter.cost()
        return TrainResult(steps, metrics.last_dev_metrics(), cost, metrics.lines)

    def _resume(self) -> int:
        """Return the step to go on from."""
        return self.keeper.resume()

    def _finish(self) -> None:
        self.recorder.finish()
        self.prepared.give_back()
        self.accelerator.wait_for_everyone()

    def _between_steps(self, done: int, stopped: threading.Event) -> None:
        """Stop if told to, also while the dev set is read; evaluate and save where that is due."""
        self._stop_if_asked(stopped, done)
        if self._evaluation_is_due(done):
            self._evaluate(done)
            self._stop_if_asked(stopped, done)
        if done < self.batches.steps and self.keeper.is_due(done):
            self.keeper.keep_if_possible(done)

    def _stop_if_asked(self, stopped: threading.Event, step: int) -> None:
        """Raise KeyboardInterrupt in every process if any was told to stop, once all is kept."""
        if any(from_every_process(stopped.is_set())):
            self.keeper.keep(step)
            self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first one
            raise KeyboardInterrupt(
                f"{self.output}: stopped after step {step}; the same command goes on from there"
            )

    # -- one step -----------------------------------------------------------------------------

    def _step(self, step: int) -> Line:
        batch = self.batches.at(step, self._renewed)
        self.due = {i: self.batches.pool[i] for i in batch}
        if self.batches.may_be_empty and not self._count(batch):
            return self._skip(step)
        if self.config.dropout:
            self.module.train()
        else:
            switch_dropout_off(self.module)
        shares = self.passes.shares_of(batch, self.due)
        torch.manual_seed(hash((self.seed, step, self.accelerator.process_index)) % 2**63)
        lr = self.prepared.set_rate(rate(step, self.batches.steps, self.config))
        self._show(batch, shares, self.due, training=True)
        self.budget.begin()
        sums, passes = self._accumulate(batch, shares)
        self.budget.end()
        norm = self._update(step, batch)
        self.budget.adapt(passes)
        return self.recorder.record("train", step + 1, sums, lr=lr, grad_norm=norm)

    def _skip(self, step: int) -> Line:
        """Make no update with what was made to train on and holds nothing: say so, and count it."""
        logger.warning(
            "%s: step %d has nothing that is trained on: it is skipped", self.name, step + 1
        )
        nothing = Sums()
        nothing.add({"loss": (0.0, 0.0)})
        return self.recorder.record("train", step + 1, nothing, skipped=1.0)

    def _count(self, batch: Sequence[int]) -> float:
        """Return what the losses of a global batch are divided by."""
        return sum(self.objective.count(self.due[i]) for i in batch)

    def _renewed(self, items: Sequence[Any], step: int, turn: int) -> Sequence[Any]:
        """Return what a turn's items are made to; where that fails, what was trained until now is kept."""
        objective: Any = self.objective
        switch_dropout_off(self.module)
        try:
            with torch.no_grad(), self.accelerator.autocast():
                renewed: Sequence[Any] = objective.renew(self.prepared.unwrapped, items, turn)
                return renewed
        except Exception:
            self.keeper.keep_if_possible(step)
            self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first one
            raise

    def _show(
        self, batch: Sequence[int], shares: Sequence[Sequence[int]], items: Any, *, training: bool
    ) -> None:
        show(self.prepared, self.passes, batch, shares, items, training=training, name=self.name)

    def _accumulate(self, batch: list[int], shares: list[list[int]]) -> tuple[Sums, list[int]]:
        """Add up gradients over this process's micro-batches; return their metrics and their tokens."""
        sums = Sums()
        count = self._count(batch)
        if not count:
            raise TrainingError(f"{self.name}: a batch holds nothing that is trained on")
        cuts, idle = self.passes.of(shares, self.due)
        passes = max(1, len(cuts) + idle)
        for position in range(passes):
            is_last = position == passes - 1
            with nullcontext() if is_last else self.prepared.gradients_kept():
                if position >= len(cuts):
                    # It joins in where the others compute, with a loss of zero.
                    self._backward([self.due[batch[0]]], 0.0)
                    continue
                items = [self.due[i] for i in cuts[position]]
                # Gradients are averaged over processes; what is divided by the global count is
                # their sum.
                output = self._backward(items, self.accelerator.num_processes / count)
            self._add(sums, output, items)
        self.recorder.meter.tokens += sum(self.objective.size(self.due[i]) for i in batch)
        tokens = [sum(self.objective.size(self.due[i]) for i in cut) for cut in cuts]
        return sums, tokens

    def _backward(self, items: Sequence[Any], scale: float) -> LossOutput:
        """Run one micro-batch forward and backward; its summed loss is multiplied by `scale`."""
        output = self.prepared.loss(self.module, items)
        self.faults.look_at_loss(output, items)
        self.accelerator.backward(output.loss * scale)
        return output

    def _add(self, sums: Sums, output: LossOutput, items: Sequence[Any]) -> None:
        count = sum(map(self.objective.count, items))
        sums.add({"loss": (output.loss.item(), count), **output.metrics})

    def _update(self, step: int, batch: list[int]) -> float:
        """Make one optimizer step; a fault of any process stops all of them before it."""
        limit = self.config.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), limit)
        value = float(sharding.whole(norm)) if norm is not None else 0.0
        self.faults.look_at_gradient(value, [self.due[i] for i in batch])
        self.faults.stop_at_first(f"at step {step + 1}; stopped before the update")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    # -- the dev set --------------------------------------------------------------------------

    def _evaluation_is_due(self, step: int) -> bool:
        """Whether the dev set is to be read now, and was not before an interruption."""
        every = self.config.eval_every
        if not self.dev or every is None:
            return False
        if any(line["step"] == step for line in self.recorder.metrics.of_dev()):
            return False
        at_an_end = step in (0, self.batches.steps)
        return at_an_end or (every > 0 and step % every == 0)

    def _evaluate(self, step: int) -> None:
        self.faults.look_at_weights(step)
        switch_dropout_off(self.module)
        sums = Sums()
        count = self.accelerator.num_processes
        shares = [range(rank, len(self.dev), count) for rank in range(count)]
        self._show(range(len(self.dev)), shares, self.dev, training=False)
        cuts, idle = self.passes.of(shares, self.dev)
        module = self.prepared.unwrapped
        with torch.no_grad(), sharding.read_only(self.module):
            for _ in range(idle):
                self.prepared.loss(module, [self.dev[0]])
            for cut in cuts:
                items = [self.dev[i] for i in cut]
                output = self.prepared.loss(module, items)
                self.faults.look_at_loss(output, items, "dev items")
                self._add(sums, output, items)
        self.faults.stop_at_first(f"after step {step}; look at these rows, or leave them out")
        self.recorder.record("dev", step, sums)
