"""The one loop.

A global batch is a list of items fixed by (seed, epoch); micro-batches are cut by a token budget;
losses are summed and divided by the global count. So neither accumulation, nor packing, nor the
number of processes changes the result, with dropout off: what dropout drops is drawn by forward
pass.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from rewarddiff import files
from rewarddiff.config import to_dict
from rewarddiff.errors import FailedElsewhere, TrainingError, UserError
from rewarddiff.forward import switch_dropout_off
from rewarddiff.loop import checkpoint, sharding
from rewarddiff.loop.accelerator import accelerator_for
from rewarddiff.loop.budget import Budget, GpuMemory
from rewarddiff.loop.contents import contents
from rewarddiff.loop.interrupts import stop_between_steps
from rewarddiff.loop.items import Filed, Picked, digest
from rewarddiff.loop.metrics import Line, MetricsFile, Sums
from rewarddiff.loop.objective import (
    LossOutput,
    Objective,
    Probing,
    Renewing,
    Summing,
    TrainConfig,
    note_of,
)
from rewarddiff.loop.optimizers import hold, optimizer_for, state_bytes
from rewarddiff.loop.schedule import (
    batch_at,
    minibatch_at,
    rate,
    share,
    steps_within,
    turn_at,
    turns_of_an_epoch,
    turns_within,
)
from rewarddiff.machine import Meter, freed_memory_is_kept
from rewarddiff.processes import from_every_process, main_first, once
from rewarddiff.progress import task
from rewarddiff.store import finite
from rewarddiff.trees import microbatches
from rewarddiff.version import __version__

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
"""The folder of the checkpoint in a training's output."""


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
    stopped. The last checkpoint stays until `discard_checkpoint` is called, once what was trained
    is saved.

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
    return _Run(objective, items, dev, output, config, seed, name).run()


def discard_checkpoint(output: Path) -> None:
    """Remove what an interrupted training would go on from: what it trained is saved."""
    files.remove(output / CHECKPOINT)


class _Run:
    """One training: the state of the loop, and its steps as short methods."""

    def __init__(
        self,
        objective: Objective[Any],
        items: Sequence[Any],
        dev: Sequence[Any],
        output: Path,
        config: TrainConfig,
        seed: int,
        name: str,
    ) -> None:
        self.objective, self.items, self.dev = objective, items, dev
        self.output, self.config, self.seed, self.name = output, config, seed, name
        self.accelerator = accelerator_for(config, output)
        if config.gradient_checkpointing:
            checkpoint_layers(objective.module)
        self.whole = objective.module
        if config.sharding == "fsdp" and isinstance(objective, Renewing):
            raise UserError(
                f"{name}: train.sharding: fsdp reads in equally many passes, and a policy that learns "
                "from its own samples does not; leave it out"
            )
        self.divided = sharding.is_wanted(config)
        if self.divided:
            _ = self._identity  # of the whole
            self._set_module(sharding.divided(self.whole))
        groups = objective.parameter_groups(config)
        hold(groups[0]["params"], config)  # the body's; those of a new head stay as they are
        optimizer = optimizer_for(objective.module, groups, config, seed)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        if self.divided:
            self.module: nn.Module = objective.module
            self.optimizer = self.accelerator.prepare(optimizer)
        else:
            self.module, self.optimizer = self.accelerator.prepare(objective.module, optimizer)
        memory = GpuMemory() if self.accelerator.device.type == "cuda" else None
        self.budget = Budget(config, memory, name)
        self.steps = self._all_steps()
        self.pool: Sequence[Any] = items  # what is trained on now
        self.due: dict[int, Any] = {}  # of it, the items of this step by their places
        self.turn = -1  # in which it was made; none yet
        self.pace = checkpoint.Pace(
            config.save_every,
            checkpoint.size(objective.module, state_bytes(config.optimizer, config.weights)),
        )
        self.meter = Meter()
        self.metrics = MetricsFile(output / "metrics.jsonl")
        self.fault = ""
        self.tracking = False

    def _set_module(self, module: nn.Module) -> None:
        objective: Any = self.objective
        objective.module = module

    @property
    def unwrapped(self) -> nn.Module:
        """The module as it is in this process; a process may call it alone."""
        module: nn.Module = self.accelerator.unwrap_model(self.module)
        return module

    def run(self) -> TrainResult:
        self._check_start()
        start = self._resume()
        with (
            # Divided weights come and go in every pass, and are more than the steps' tensors.
            nullcontext() if self.divided else freed_memory_is_kept(),
            self.meter,
            stop_between_steps() as stopped,
            task(self.name, self.steps, before=start) as progress,
        ):
            self._between_steps(start, stopped)
            for step in range(start, self.steps):
                line = self._step(step)
                progress.advance(1, note_of(self.objective, line))
                self._between_steps(step + 1, stopped)
            self._check_weights(self.steps)
        self._finish()
        return TrainResult(
            self.steps, self.metrics.last_dev_metrics(), self.meter.cost(), self.metrics.lines
        )

    def _between_steps(self, done: int, stopped: threading.Event) -> None:
        """Stop if told to, also while the dev set is read; evaluate and save where that is due."""
        self._stop_if_asked(stopped, done)
        if self._evaluation_is_due(done):
            self._evaluate(done)
            self._stop_if_asked(stopped, done)
        if done < self.steps and self._checkpoint_is_due(done):
            self._save_if_possible(done)

    def _checkpoint_is_due(self, done: int) -> bool:
        """Whether this process is to write a checkpoint, or its part of one, now."""
        if self.divided:
            return once(lambda: self.pace.due(done))
        return self.accelerator.is_main_process and self.pace.due(done)

    # -- one step -----------------------------------------------------------------------------

    def _step(self, step: int) -> Line:
        batch = self._batch_at(step)
        self.due = {i: self.pool[i] for i in batch}
        if isinstance(self.objective, Renewing) and not self._count(batch):
            return self._skip(step)
        if self.config.dropout:
            self.module.train()
        else:
            switch_dropout_off(self.module)
        shares = self._shares_of(batch)
        torch.manual_seed(hash((self.seed, step, self.accelerator.process_index)) % 2**63)
        scale = rate(step, self.steps, self.config)
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * scale
        self._begin(batch, shares, self.due, training=True)
        self.budget.begin()
        sums, passes = self._accumulate(batch, shares)
        self.budget.end()
        norm = self._update(step, batch)
        self.budget.adapt(passes)
        return self._log("train", step + 1, sums, lr=self.rates[0] * scale, grad_norm=norm)

    def _skip(self, step: int) -> Line:
        """Make no update with what was made to train on and holds nothing: say so, and count it."""
        logger.warning(
            "%s: step %d has nothing that is trained on: it is skipped", self.name, step + 1
        )
        nothing = Sums()
        nothing.add({"loss": (0.0, 0.0)})
        return self._log("train", step + 1, nothing, skipped=1.0)

    def _count(self, batch: Sequence[int]) -> float:
        """Return what the losses of a global batch are divided by."""
        return sum(self.objective.count(self.due[i]) for i in batch)

    def _all_steps(self) -> int:
        """Return how many optimizer steps the training has."""
        objective = self.objective
        if isinstance(objective, Renewing):
            return turns_within(len(self.items), self.config, objective.turns)
        return steps_within(self._sizes(self.items), self.config, self.seed)

    def _steps_of_an_epoch(self) -> int:
        objective = self.objective
        if not isinstance(objective, Renewing):
            return math.ceil(len(self.items) / self.config.batch_size)
        turns = turns_of_an_epoch(len(self.items), self.config, objective.turns)
        return turns * objective.turns.updates

    def _batch_at(self, step: int) -> list[int]:
        """Return the places in the pool of a step's global batch; where due, make the pool anew."""
        objective = self.objective
        if not isinstance(objective, Renewing):
            return batch_at(len(self.items), step, self.config, self.seed)
        turn = step // objective.turns.updates
        if turn != self.turn:
            self.pool = self._renewed(objective, step, turn)
            self.turn = turn
        return minibatch_at(len(self.pool), step, objective.turns, self.seed)

    def _renewed(self, objective: Renewing, step: int, turn: int) -> Sequence[Any]:
        """Return the pool of a turn; where that fails, what was trained until now is kept."""
        switch_dropout_off(self.module)
        places = turn_at(len(self.items), turn, self.config, objective.turns, self.seed)
        items = [self.items[i] for i in places]
        try:
            with torch.no_grad(), self.accelerator.autocast():
                return objective.renew(self.unwrapped, items, turn)
        except Exception:
            self._save_if_possible(step)
            self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first one
            raise

    def _shares_of(self, batch: Sequence[int]) -> list[list[int]]:
        """Return which items of a batch are whose, by process."""
        sizes = [self.objective.size(self.due[i]) for i in batch]
        return share(batch, sizes, self.accelerator.num_processes)

    def _sizes(self, items: Sequence[Any]) -> Sequence[int]:
        """Return the tokens of every item."""
        return items.sizes if isinstance(items, Filed) else list(map(self.objective.size, items))

    def _begin(
        self, batch: Sequence[int], shares: Sequence[Sequence[int]], items: Any, *, training: bool
    ) -> None:
        """Let an objective that asks for it look at the whole global batch before its losses."""
        objective = self.objective
        if not isinstance(objective, Probing) or not objective.probes:
            return
        probed: dict[int, Any] = {}
        cuts, idle = self._passes(shares, items)
        with torch.no_grad(), self.accelerator.autocast(), sharding.read_only(self.module):
            for cut in cuts:
                values = objective.probe(self.unwrapped, [items[i] for i in cut])
                probed.update(zip(cut, values, strict=True))
            for _ in range(idle):
                objective.probe(self.unwrapped, [items[batch[0]]])
        for part in from_every_process(probed):
            probed |= part
        culprits = [items[i] for i in batch if not np.isfinite(probed[i]).all()]
        if culprits:
            raise TrainingError(
                f"{self.name}: what the batch is asked for before its losses is not finite on items "
                f"{_named(culprits)}; stopped before the update"
            )
        objective.begin(Picked(items, batch), [probed[i] for i in batch], training=training)

    def _accumulate(self, batch: list[int], shares: list[list[int]]) -> tuple[Sums, list[int]]:
        """Add up gradients over this process's micro-batches; return their metrics and their tokens."""
        sums = Sums()
        count = self._count(batch)
        if not count:
            raise TrainingError(f"{self.name}: a batch holds nothing that is trained on")
        cuts, idle = self._passes(shares, self.due)
        passes = max(1, len(cuts) + idle)
        for position in range(passes):
            is_last = position == passes - 1
            with nullcontext() if is_last else self._gradients_kept():
                if position >= len(cuts):
                    # It joins in where the others compute, with a loss of zero.
                    self._backward([self.due[batch[0]]], 0.0)
                    continue
                items = [self.due[i] for i in cuts[position]]
                # Gradients are averaged over processes; what is divided by the global count is
                # their sum.
                output = self._backward(items, self.accelerator.num_processes / count)
            self._add(sums, output, items)
        self.meter.tokens += sum(self.objective.size(self.due[i]) for i in batch)
        tokens = [sum(self.objective.size(self.due[i]) for i in cut) for cut in cuts]
        return sums, tokens

    def _gradients_kept(self) -> AbstractContextManager[Any]:
        """Let gradients of this process wait for its last pass of the step."""
        if self.divided:  # kept, they would be whole
            return nullcontext()
        kept: AbstractContextManager[Any] = self.accelerator.no_sync(self.module)
        return kept

    def _backward(self, items: Sequence[Any], scale: float) -> LossOutput:
        """Run one micro-batch forward and backward; its summed loss is multiplied by `scale`."""
        output = self._loss(self.module, items)
        if output.fault:
            self._note_fault(f"{output.fault} on items {_named(self._culprits(items))}")
        self.accelerator.backward(output.loss * scale)
        return output

    def _loss(self, module: nn.Module, items: Sequence[Any]) -> LossOutput:
        with self.accelerator.autocast():
            return self.objective.loss(module, items)

    def _add(self, sums: Sums, output: LossOutput, items: Sequence[Any]) -> None:
        count = sum(map(self.objective.count, items))
        sums.add({"loss": (output.loss.item(), count), **output.metrics})

    def _update(self, step: int, batch: list[int]) -> float:
        """Make one optimizer step; a fault of any process stops all of them before it."""
        limit = self.config.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), limit)
        value = float(sharding.whole(norm)) if norm is not None else 0.0
        if not math.isfinite(value) and not self.fault:
            culprits = self._culprits_of_gradient([self.due[i] for i in batch])
            self._note_fault(f"gradient norm {value} on items {_named(culprits)}")
        self._raise_fault(f"at step {step + 1}; stopped before the update")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    def _culprits(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items whose losses are not finite by themselves either; all where that tells nothing."""
        if self.divided:  # no process reads anything alone
            return items
        with torch.no_grad():
            return [item for item in items if self._loss(self.unwrapped, [item]).fault] or items

    def _culprits_of_gradient(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items whose gradients are not finite by themselves either, see `_culprits`."""
        if self.divided:
            return items
        culprits = []
        for item in items:
            self.optimizer.zero_grad()
            self._loss(self.unwrapped, [item]).loss.backward()
            gradients = [p.grad for p in self.unwrapped.parameters() if p.grad is not None]
            if not torch.nn.utils.get_total_norm(gradients).isfinite():
                culprits.append(item)
        return culprits or items

    def _note_fault(self, fault: str) -> None:
        """Remember the first fault, which all processes then stop at together."""
        if not self.fault:
            self.fault = fault

    def _raise_fault(self, where: str) -> None:
        """Raise a TrainingError in every process if any of them has met a fault."""
        for fault in from_every_process(self.fault):
            if fault:
                raise TrainingError(f"{self.name}: {fault} {where}")

    def _check_start(self) -> None:
        """Raise a TrainingError unless all weights are finite, also those that are not trained."""
        if not _all_finite(self.objective.module.parameters()):
            raise TrainingError(
                f"{self.name}: the weights that training starts from are not finite: the model's file "
                "is damaged, or an earlier training diverged; choose another model"
            )

    def _check_weights(self, step: int) -> None:
        """Raise a TrainingError unless all trained weights are finite.

        The last update is looked at by no loss.
        """
        if not _all_finite(p for p in self.objective.module.parameters() if p.requires_grad):
            raise TrainingError(
                f"{self.name}: the weights are not finite after step {step}: training diverged, "
                "and they are not saved; a lower lr may help"
            )

    def _size(self, items: Any, place: int) -> int:
        """Return the tokens of one item."""
        if isinstance(items, Filed):
            return items.sizes[place]
        return self.objective.size(items[place])

    def _passes(self, shares: Sequence[Sequence[int]], items: Any) -> tuple[list[list[int]], int]:
        """Return this process's micro-batches, and how many passes it makes beside them.

        Where weights are divided every process makes as many as the others.
        """
        rank = self.accelerator.process_index
        cuts = self._cut(shares[rank], items)
        if not self.divided:
            return cuts, 0
        most = max(len(self._cut(share, items)) for share in shares)
        return cuts, most - len(cuts)

    def _cut(self, indices: Sequence[int], items: Any) -> list[list[int]]:
        """Return micro-batches of similar lengths within the token budget."""
        sizes = {i: self._size(items, i) for i in indices}
        ordered = sorted(indices, key=lambda i: (sizes[i], i))
        cuts = microbatches([sizes[i] for i in ordered], self.budget.tokens)
        return [[ordered[k] for k in cut] for cut in cuts]

    # -- evaluation and logging ---------------------------------------------------------------

    def _evaluation_is_due(self, step: int) -> bool:
        """Whether the dev set is to be read now, and was not before an interruption."""
        every = self.config.eval_every
        if not self.dev or every is None:
            return False
        if any(line["step"] == step for line in self.metrics.of_dev()):
            return False
        at_an_end = step in (0, self.steps)
        return at_an_end or (every > 0 and step % every == 0)

    def _evaluate(self, step: int) -> None:
        self._check_weights(step)
        switch_dropout_off(self.module)
        sums = Sums()
        accelerator = self.accelerator
        count = accelerator.num_processes
        shares = [range(rank, len(self.dev), count) for rank in range(count)]
        self._begin(range(len(self.dev)), shares, self.dev, training=False)
        cuts, idle = self._passes(shares, self.dev)
        with torch.no_grad(), sharding.read_only(self.module):
            for _ in range(idle):
                self._loss(self.unwrapped, [self.dev[0]])
            for cut in cuts:
                items = [self.dev[i] for i in cut]
                output = self._loss(self.unwrapped, items)
                if output.fault:
                    self._note_fault(f"{output.fault} on dev items {_named(self._culprits(items))}")
                self._add(sums, output, items)
        self._raise_fault(f"after step {step}; look at these rows, or leave them out")
        self._log("dev", step, sums)

    def _log(self, split: str, step: int, sums: Sums, **more: float) -> Line:
        """Write a line of metrics, in the form that the objective gives them."""
        means, counts = sums.means()
        if isinstance(self.objective, Summing):
            means = self.objective.summary(means, counts)
        line: Line = {
            "step": step,
            "epoch": step / self._steps_of_an_epoch(),
            "split": split,
            **means,
            **more,
        }
        line |= {"tokens": self.meter.tokens, "seconds": self.meter.seconds}
        self.metrics.add(line, write=self.accelerator.is_main_process)
        if self.config.track:
            self._track(line, step)
        return line

    def _track(self, line: Mapping[str, Any], step: int) -> None:
        if not self.tracking:
            self.accelerator.init_trackers("rewarddiff", config=_scalars(asdict(self.config)))
            self.tracking = True
        split = line["split"]
        values = {f"{split}/{k}": v for k, v in line.items() if isinstance(v, int | float)}
        self.accelerator.log(values, step=step)

    # -- stopping and going on ----------------------------------------------------------------

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What a checkpoint has to be of, by name, as JSON holds it."""
        settings = asdict(self.config)
        for name in ("save_every", "track", "sharding"):  # these change no result
            del settings[name]
        if self.config.dropout:
            settings["processes"] = self.accelerator.num_processes  # each draws what it drops
        else:
            del settings["microbatch_tokens"]
        objective = self.objective
        options = _settings(objective)
        return {
            **settings,
            "seed": self.seed,
            "objective": type(objective).__name__,
            "options": _as_json(options),
            **_as_json(getattr(objective, "besides", {})),
            "code": contents(type(objective), *_classes(options)),
            "data": digest(self.items),
            "dev": digest(self.dev),
            "start": checkpoint.origin(self.whole),
            "version": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            **_versions(_libraries(self.whole, self.config)),
        }

    @property
    def _checkpoint(self) -> Path:
        return self.output / CHECKPOINT

    def _save(self, step: int) -> None:
        """Write a checkpoint; the main process does so alone."""
        self._check_weights(step)
        if not (self.divided or self.accelerator.is_main_process):
            return
        state = {
            "step": step,
            "identity": self._identity,
            "meter": self.meter.so_far(),
            "metrics": finite(self.metrics.lines),
        }
        if isinstance(self.objective, Renewing):
            state["objective"] = self.objective.kept()
        else:
            state["objective"] = getattr(self.objective, "state", {})
        begun = time.monotonic()
        save = checkpoint.save_divided if self.divided else checkpoint.save
        save(self._checkpoint, self.unwrapped, self.optimizer, state)
        self.pace.written(time.monotonic() - begun)

    def _save_if_possible(self, step: int) -> None:
        """Write a checkpoint; one that nobody asked for and finds no room does not end training."""
        try:
            self._save(step)
        except (OSError, SafetensorError, FailedElsewhere) as error:
            if self.config.save_every is not None:
                raise
            logger.warning(
                "%s: no checkpoint can be written (%s): going on without, and trying again in %.0f s",
                self.name,
                error,
                self.pace.failed(),
            )

    def _stop_if_asked(self, stopped: threading.Event, step: int) -> None:
        """Raise KeyboardInterrupt in every process if any was told to stop, once all is kept."""
        if any(from_every_process(stopped.is_set())):
            self._save(step)
            self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first one
            raise KeyboardInterrupt(
                f"{self.output}: stopped after step {step}; the same command goes on from there"
            )

    def _resume(self) -> int:
        """Return the step to go on from, with metrics written after it taken back."""
        identity = self._identity
        state = None
        if not once(lambda: checkpoint.is_damaged(self._checkpoint)):
            state = main_first(
                lambda: checkpoint.load(self._checkpoint, self.unwrapped, self.optimizer, identity)
            )
        self._take_back_metrics(state["metrics"] if state else [])
        if state is None:
            return 0
        start = int(state["step"])
        self.meter.go_on(state["meter"])
        if isinstance(self.objective, Renewing):
            self.pool = self.objective.go_on(state["objective"])
            self.turn = (start - 1) // self.objective.turns.updates
        elif isinstance(self.objective, Probing):
            self.objective.state.update(state["objective"])
        if self.accelerator.is_main_process:
            logger.info("%s: going on from step %d of %d", self.name, start, self.steps)
        return start

    def _take_back_metrics(self, lines: Sequence[Line]) -> None:
        """Keep the lines that the interrupted training had written until its checkpoint."""
        self.metrics.take_back(lines)
        if self.accelerator.is_main_process:
            self.metrics.rewrite()

    def _finish(self) -> None:
        if self.config.track:
            self.accelerator.end_training()
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
        if self.objective.module is not self.whole:  # a divided copy
            self._set_module(self.whole)
            sharding.bring_back(self.module, self.whole)
        switch_dropout_off(self.objective.module)
        self.accelerator.wait_for_everyone()


def checkpoint_layers(module: nn.Module) -> None:
    """Let a model keep its layers' inputs alone for the backward pass, and compute the rest again."""
    for child in module.modules():
        if isinstance(child, PreTrainedModel):
            # Before transformers 5.23 it had the older name alone, and vLLM asks for such a version.
            enable = getattr(child, "activation_checkpointing_enable", None)
            (enable or child.gradient_checkpointing_enable)()
            child.enable_input_require_grads()
            return
    raise UserError("gradient_checkpointing: this model has none; set it to false")


def _all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether weights are finite; of divided ones all processes ask together."""
    # Quantised weights are whole numbers.
    weights = [p.detach() for p in parameters if p.is_floating_point()]
    norm = sharding.whole(torch.nn.utils.get_total_norm(weights))
    return bool(norm.isfinite())


def _named(items: Sequence[Any]) -> str:
    """Return the names of the first three items, and how many more there are."""
    names = ", ".join(str(getattr(item, "id", item)) for item in items[:3])
    return names if len(items) <= 3 else f"{names} and {len(items) - 3} more"


def _settings(objective: Any) -> Any:
    """Return what an objective is set to: its `config`, or else all its attributes."""
    if hasattr(objective, "config"):
        return objective.config
    return {name: value for name, value in vars(objective).items() if name != "module"}


def _as_json(settings: Any) -> Any:
    """Return settings as JSON holds them; of what it has no form for, a hash."""
    return json.loads(json.dumps(finite(to_dict(settings)), default=contents))


def _classes(settings: Any) -> Iterator[type]:
    """Yield the class of settings, and those of the settings in them."""
    yield type(settings)
    if is_dataclass(settings) and not isinstance(settings, type):
        for field_of_it in fields(settings):
            yield from _classes(getattr(settings, field_of_it.name))


def _libraries(module: nn.Module, config: TrainConfig) -> set[str]:
    """Return the names of the libraries that compute, besides those that always do."""
    names = {"accelerate"}
    for layer in module.modules():
        names.update(cls.__module__.partition(".")[0] for cls in type(layer).__mro__)
    if config.optimizer != "adamw":
        names.add("bitsandbytes")
    return names - {"rewarddiff", "torch", "transformers"}


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of what is installed, by name."""
    versions = {}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _scalars(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as trackers take them: what is no plain value as text."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}
