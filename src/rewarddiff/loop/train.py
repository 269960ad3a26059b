"""The one loop.

A global batch is a list of items fixed by (seed, epoch); micro-batches are cut by a token budget;
losses are summed and divided by the global count. So neither accumulation, nor packing, nor the
number of processes changes the result, with dropout off: what dropout drops is drawn by forward
pass.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from rewarddiff import files, models
from rewarddiff.errors import TrainingError, UserError, suggest
from rewarddiff.forward import switch_dropout_off
from rewarddiff.loop import checkpoint
from rewarddiff.loop.objective import LossOutput, Objective, Probing, Summing, TrainConfig
from rewarddiff.loop.schedule import batch_at, rate, share, steps_within
from rewarddiff.machine import Meter
from rewarddiff.progress import task
from rewarddiff.store import fingerprint, finite
from rewarddiff.trees import microbatches
from rewarddiff.writing import figure

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

BOOKKEEPING = ("step", "epoch", "split", "tokens", "seconds")
"""What a line of metrics holds besides the metrics."""


@dataclass(frozen=True)
class TrainResult:
    """What a training gives besides the trained module: the last dev metrics and the cost."""

    steps: int
    dev: dict[str, float]
    cost: dict[str, Any]
    curve: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Sums:
    """Running (sum, count) per metric."""

    values: dict[str, tuple[float, float]] = field(
        default_factory=lambda: defaultdict(lambda: (0.0, 0.0))
    )

    def add(self, metrics: Mapping[str, tuple[float, float]]) -> None:
        for name, (total, count) in metrics.items():
            old = self.values[name]
            self.values[name] = (old[0] + total, old[1] + count)

    def totals(self, accelerator: Accelerator) -> dict[str, tuple[float, float]]:
        """The (sum, count) of every metric over all processes."""
        names = sorted(self.values)
        if accelerator.num_processes > 1:
            names = sorted(set().union(*_everyone(names)))
        rows = torch.tensor([self.values[n] for n in names], dtype=torch.float64).reshape(-1, 2)
        if accelerator.num_processes > 1:
            rows = sum(torch.tensor(r, dtype=torch.float64) for r in _everyone(rows.tolist()))  # type: ignore[assignment]
        return {n: (s, c) for n, (s, c) in zip(names, rows.tolist(), strict=True)}


def _everyone(value: Any) -> list[Any]:
    """The value of every process, in order."""
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def check_tracker(name: str | None) -> None:
    """Raise a UserError unless Accelerate knows this tracker and its package is installed."""
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        raise UserError(f"track: there is no tracker '{name}'{suggest(name, LOGGER_TYPE_TO_CLASS)}")
    if name in LoggerType.list() and name not in map(str, get_available_trackers()):
        raise UserError(f"track: {name} is not installed; install it, or leave track out")


def processes() -> PartialState:
    """Return what Accelerate knows of the processes that train together."""
    return PartialState(cpu=_on_cpu())


def _on_cpu() -> bool:
    """Whether training is on the CPU: said outright, or several processes without a GPU would not
    find each other."""
    return models.device().type == "cpu"


def accelerator_for(config: TrainConfig, output: Path | None = None) -> Accelerator:
    """A fresh Accelerator; several trainings of different precision may follow each other in one
    process.

    Tracking needs an `output`: trackers that write files (tensorboard) write them to `output/logs`.
    """
    check_tracker(config.track)
    AcceleratorState._reset_state(reset_partial_state=False)
    precision = "bf16" if config.precision == "bf16" else "no"
    cpu = _on_cpu()
    if config.track is None or output is None:
        return Accelerator(mixed_precision=precision, cpu=cpu)
    return Accelerator(
        mixed_precision=precision, cpu=cpu, log_with=config.track, project_dir=str(output / "logs")
    )


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
    stopped.

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
            _checkpoint_layers(objective.module)
        groups = objective.parameter_groups(config)
        optimizer = torch.optim.AdamW(
            groups, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.module, self.optimizer = self.accelerator.prepare(objective.module, optimizer)
        self.steps = steps_within([objective.size(item) for item in items], config, seed)
        self.pace = checkpoint.Pace(config.save_every, checkpoint.size(objective.module))
        self.meter = Meter()
        self.fault = ""
        self.curve: list[dict[str, Any]] = []

    def run(self) -> TrainResult:
        start = self._resume()
        with (
            self.meter,
            _stop_between_steps() as stopped,
            task(self.name, self.steps, before=start) as progress,
        ):
            self._between_steps(start, stopped)
            for step in range(start, self.steps):
                line = self._step(step)
                progress.advance(1, f"loss {figure(line['loss'], '.4f')}")
                self._between_steps(step + 1, stopped)
            self._check_weights(self.steps)
        self._finish()
        return TrainResult(self.steps, self._last_dev_metrics(), self.meter.cost(), self.curve)

    def _between_steps(self, done: int, stopped: threading.Event) -> None:
        """After so many steps: stop if told to, also while the dev set is read; evaluate and save
        where that is due."""
        self._stop_if_told(stopped, done)
        if self._evaluation_is_due(done):
            self._evaluate(done)
            self._stop_if_told(stopped, done)
        if done < self.steps and self.accelerator.is_main_process and self.pace.due(done):
            self._save_if_possible(done)

    # -- one step ------------------------------------------------------------------------------------------------

    def _step(self, step: int) -> dict[str, Any]:
        config, objective, accelerator = self.config, self.objective, self.accelerator
        self.module.train() if config.dropout else switch_dropout_off(self.module)
        batch = batch_at(len(self.items), step, config, self.seed)
        count = sum(objective.count(self.items[i]) for i in batch)
        sizes = [objective.size(self.items[i]) for i in batch]
        own = share(batch, sizes, accelerator.num_processes)[accelerator.process_index]
        torch.manual_seed(hash((self.seed, step, accelerator.process_index)) % 2**63)
        scale = rate(step, self.steps, config)
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * scale
        self._begin(batch, own, self.items, training=True)
        sums = _Sums()
        cuts = self._cut(own) or [[]]
        for position, indices in enumerate(cuts):
            last = position == len(cuts) - 1
            with nullcontext() if last else accelerator.no_sync(self.module):
                self._backward(indices, batch, count, sums)
        norm = self._update(step, batch)
        return self._log(
            "train", step + 1, self._means(sums), lr=self.rates[0] * scale, grad_norm=norm
        )

    def _begin(
        self, batch: Sequence[int], own: Sequence[int], items: Sequence[Any], *, training: bool
    ) -> None:
        """Let an objective that asks for it look at the whole global batch before its losses."""
        objective = self.objective
        if not isinstance(objective, Probing) or not objective.probes:
            return
        found: dict[int, Any] = {}
        alone = self.accelerator.unwrap_model(
            self.module
        )  # a process without items would not join in
        with torch.no_grad(), self.accelerator.autocast():
            for cut in self._cut(own, items):
                found |= zip(cut, objective.probe(alone, [items[i] for i in cut]), strict=True)
        if self.accelerator.num_processes > 1:
            found = {i: value for part in _everyone(found) for i, value in part.items()}
        objective.begin([items[i] for i in batch], [found[i] for i in batch], training=training)

    def _backward(self, indices: list[int], batch: list[int], count: float, sums: _Sums) -> None:
        """Forward and backward of one micro-batch; a process without items joins in with a loss of
        zero."""
        items = [self.items[i] for i in indices] or [self.items[batch[0]]]
        with self.accelerator.autocast():
            output = self.objective.loss(self.module, items)
        loss = output.loss if indices else output.loss * 0
        if not torch.isfinite(loss):
            self.fault = self.fault or f"loss {loss.item()} on items {_named(items)}"
        # DDP averages gradients over processes; the sum over the global batch is what is divided by
        # its count.
        self.accelerator.backward(loss * (self.accelerator.num_processes / count))
        if indices:
            sums.add(
                {"loss": (loss.item(), sum(map(self.objective.count, items))), **output.metrics}
            )
            self.meter.tokens += sum(map(self.objective.size, items))

    def _update(self, step: int, batch: list[int]) -> float:
        """One optimizer step; a fault of any process stops all of them before it."""
        norm = self.accelerator.clip_grad_norm_(
            self.module.parameters(), self.config.max_grad_norm or math.inf
        )
        value = float(norm) if norm is not None else 0.0
        if not math.isfinite(value):
            self.fault = (
                self.fault
                or f"gradient norm {value} on items {_named([self.items[i] for i in batch])}"
            )
        self._raise_fault(f"at step {step + 1}; stopped before the update")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    def _raise_fault(self, where: str) -> None:
        """Raise a TrainingError in every process if any of them has met a fault."""
        faults = _everyone(self.fault) if self.accelerator.num_processes > 1 else [self.fault]
        if fault := next(filter(None, faults), ""):
            raise TrainingError(f"{self.name}: {fault} {where}")

    def _check_weights(self, step: int) -> None:
        """Raise a TrainingError unless all trained weights are finite: the last update is looked at
        by no loss."""
        trained = [p.detach() for p in self.objective.module.parameters() if p.requires_grad]
        if not torch.nn.utils.get_total_norm(trained).isfinite():
            raise TrainingError(
                f"{self.name}: the weights are not finite after step {step}: training diverged, and they are not "
                "saved; a lower lr may help"
            )

    def _cut(self, indices: Sequence[int], items: Sequence[Any] | None = None) -> list[list[int]]:
        """Micro-batches of similar lengths within the token budget."""
        items = self.items if items is None else items
        ordered = sorted(indices, key=lambda i: (self.objective.size(items[i]), i))
        sizes = [self.objective.size(items[i]) for i in ordered]
        return [
            [ordered[k] for k in cut] for cut in microbatches(sizes, self.config.microbatch_tokens)
        ]

    # -- evaluation and logging ----------------------------------------------------------------------------------

    def _evaluation_is_due(self, step: int) -> bool:
        """Whether the dev set is to be read after so many steps, and was not before an
        interruption."""
        every = self.config.eval_every
        if not self.dev or every is None:
            return False
        measured = any(line["split"] == "dev" and line["step"] == step for line in self.curve)
        at_an_end = step in (0, self.steps)
        return not measured and (at_an_end or (every > 0 and step % every == 0))

    def _evaluate(self, step: int) -> None:
        self._check_weights(step)
        switch_dropout_off(self.module)
        sums, processes = _Sums(), self.accelerator.num_processes
        indices = range(self.accelerator.process_index, len(self.dev), processes)
        self._begin(range(len(self.dev)), indices, self.dev, training=False)
        alone = self.accelerator.unwrap_model(self.module)
        with torch.no_grad():
            for cut in self._cut(indices, self.dev):
                items = [self.dev[i] for i in cut]
                output = self._dev_loss(alone, items)
                if not torch.isfinite(output.loss):
                    culprits = [
                        i for i in items if not torch.isfinite(self._dev_loss(alone, [i]).loss)
                    ]
                    self.fault = (
                        self.fault
                        or f"loss {output.loss.item()} on dev items {_named(culprits or items)}"
                    )
                sums.add(
                    {
                        "loss": (output.loss.item(), sum(map(self.objective.count, items))),
                        **output.metrics,
                    }
                )
        self._raise_fault(f"after step {step}; look at these rows, or leave them out")
        self._log("dev", step, self._means(sums))

    def _dev_loss(self, module: nn.Module, items: Sequence[Any]) -> LossOutput:
        with self.accelerator.autocast():
            return self.objective.loss(module, items)

    def _last_dev_metrics(self) -> dict[str, float]:
        """The metrics of the last dev evaluation; empty where there was none."""
        lines = [line for line in self.curve if line["split"] == "dev"]
        if not lines:
            return {}
        return {name: value for name, value in lines[-1].items() if name not in BOOKKEEPING}

    def _means(self, sums: _Sums) -> dict[str, float]:
        """Means of the metrics, NaN where nothing was counted; in the form that the objective gives
        them."""
        totals = sums.totals(self.accelerator)
        means = {
            name: total / count if count else math.nan for name, (total, count) in totals.items()
        }
        if not isinstance(self.objective, Summing):
            return means
        return self.objective.summary(means, {name: count for name, (_, count) in totals.items()})

    def _log(
        self, split: str, step: int, means: Mapping[str, float], **more: float
    ) -> dict[str, Any]:
        epoch = step / math.ceil(len(self.items) / self.config.batch_size)
        line: dict[str, Any] = {"step": step, "epoch": epoch, "split": split, **means, **more}
        line |= {"tokens": self.meter.tokens, "seconds": self.meter.seconds}
        self.curve.append(line)
        if self.accelerator.is_main_process:
            self.output.mkdir(parents=True, exist_ok=True)
            with (self.output / "metrics.jsonl").open("a") as file:
                file.write(_json_line(line))
        if self.config.track:
            if not getattr(self, "_tracking", False):
                self.accelerator.init_trackers("rewarddiff", config=_scalars(asdict(self.config)))
                self._tracking = True
            values = {f"{split}/{k}": v for k, v in line.items() if isinstance(v, int | float)}
            self.accelerator.log(values, step=step)
        return line

    # -- stopping and going on -----------------------------------------------------------------------------------

    @cached_property
    def _identity(self) -> str:
        goal = [type(self.objective).__name__, repr(getattr(self.objective, "config", None))]
        settings = asdict(self.config) | {"save_every": 0, "track": None}
        start = checkpoint.origin(self.objective.module)
        return fingerprint(settings, self.seed, goal, digest(self.items), start)

    @property
    def _checkpoint(self) -> Path:
        return self.output / "checkpoint"

    def _save(self, step: int) -> None:
        """Write a checkpoint; the main process does so alone."""
        self._check_weights(step)
        if not self.accelerator.is_main_process:
            return
        state = {"step": step, "fingerprint": self._identity, "meter": self.meter.so_far()}
        state["objective"] = getattr(self.objective, "state", {})
        begun = time.monotonic()
        checkpoint.save(
            self._checkpoint, self.accelerator.unwrap_model(self.module), self.optimizer, state
        )
        self.pace.written(time.monotonic() - begun)

    def _save_if_possible(self, step: int) -> None:
        """Write a checkpoint; one that nobody asked for and that finds no room is no reason to end
        a training."""
        try:
            self._save(step)
        except (OSError, SafetensorError) as error:
            if self.config.save_every is not None:
                raise
            logger.warning(
                "%s: no checkpoint can be written (%s): going on without", self.name, error
            )
            self.pace = checkpoint.Pace(0, 0)

    def _stop_if_told(self, stopped: threading.Event, step: int) -> None:
        """Raise KeyboardInterrupt in every process if any was told to stop, once what was done is
        kept."""
        told = (
            _everyone(stopped.is_set())
            if self.accelerator.num_processes > 1
            else [stopped.is_set()]
        )
        if any(told):
            self._save(step)
            self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first one
            raise KeyboardInterrupt(
                f"{self.output}: stopped after step {step}; the same command goes on from there"
            )

    def _resume(self) -> int:
        """The step to go on from, with metrics written after it taken back."""
        module = self.accelerator.unwrap_model(self.module)
        with self.accelerator.main_process_first():
            state = checkpoint.load(self._checkpoint, module, self.optimizer, self._identity)
        if state is None:
            self._take_back_metrics(-1)
            return 0
        start = int(state["step"])
        self.meter.go_on(state["meter"])
        if isinstance(self.objective, Probing):
            self.objective.state.update(state["objective"])
        self._take_back_metrics(start)
        if self.accelerator.is_main_process:
            logger.info("%s: going on from step %d of %d", self.name, start, self.steps)
        return start

    def _take_back_metrics(self, last: int) -> None:
        """Keep the lines of metrics up to step `last`, those of an interrupted training that it
        goes on from."""
        path = self.output / "metrics.jsonl"
        written = path.read_text().splitlines() if path.exists() else []
        lines = [
            json.loads(text) for text in written if text.endswith("}")
        ]  # a kill may have cut the last one
        for line in lines:
            if line["step"] <= last:
                self.curve.append(
                    {name: math.nan if value is None else value for name, value in line.items()}
                )
        self.accelerator.wait_for_everyone()  # no process reads what another one is writing
        if written and self.accelerator.is_main_process:
            files.write_text(path, "".join(map(_json_line, self.curve)))

    def _finish(self) -> None:
        if self.config.track:
            self.accelerator.end_training()
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
        switch_dropout_off(self.objective.module)
        if self.accelerator.is_main_process:
            files.remove(self._checkpoint)
        self.accelerator.wait_for_everyone()


def _checkpoint_layers(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, PreTrainedModel):
            child.activation_checkpointing_enable()
            child.enable_input_require_grads()
            return
    raise UserError("gradient_checkpointing: this model has none; set it to false")


def digest(items: Sequence[Any]) -> str:
    """Return a hash of items, of all that their text form shows."""
    hashed = hashlib.blake2b(digest_size=16)
    for item in items:
        hashed.update(repr(item).encode())
    return hashed.hexdigest()


def _named(items: Sequence[Any]) -> str:
    """The first three items by their names, and how many more there are."""
    names = ", ".join(str(getattr(item, "id", item)) for item in items[:3])
    return names if len(items) <= 3 else f"{names} and {len(items) - 3} more"


def _json_line(line: Mapping[str, Any]) -> str:
    return json.dumps(finite(line), allow_nan=False) + "\n"


def _scalars(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}


@contextmanager
def _stop_between_steps() -> Iterator[threading.Event]:
    """Turn the first interrupt or termination signal into an event; a second one acts as always."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(*_: Any) -> None:
        stopped.set()
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in previous:
        signal.signal(number, note)
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
