"""What training, reading and writing take on a device: from shapes and amounts to one stage's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rewarddiff.footprint import fitted, memory
from rewarddiff.footprint.memory import Memory, Pass, Way
from rewarddiff.footprint.shapes import Shape
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.optimizers import state_bytes
from rewarddiff.pipeline.effort import DECODING
from rewarddiff.pipeline.planning import timing, work
from rewarddiff.pipeline.planning.amounts import Amount, Schedule
from rewarddiff.pipeline.planning.calls import NO_CALLS, Calls
from rewarddiff.pipeline.planning.machines import Device
from rewarddiff.pipeline.planning.work import Tokens
from rewarddiff.policies.policy import LoraConfig
from rewarddiff.scorers.neural.readers import CPU_TOKENS, DEVICE_TOKENS


@dataclass(frozen=True)
class Planned:
    """One stage, and what it takes.

    Attributes:
        folder: in the run's.
        tokens: that are read or written. operations: floating-point.
        memory: at its peak, on each device; None: nothing is computed here.
        seconds: NaN where no rate is known.
        disk: bytes that it leaves. checkpoint: bytes that lie there while it trains.
        calls: of language models behind servers, and their price.
        done: whether it is there already.
        trains: the key in the recipe of what is trained; empty: nothing is.
        inputs: what the manifest of the stage says, as far as it is known. needs: the stages before it that
            it is made from.
    """

    folder: str
    tokens: float = 0.0
    operations: float = 0.0
    memory: Memory | None = None
    seconds: float = 0.0
    disk: float = 0.0
    checkpoint: float = 0.0
    calls: Calls = NO_CALLS
    done: bool = False
    trains: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def training(
    device: Device,
    shape: Shape,
    amount: Amount,
    times: Schedule,
    read: Tokens,
    config: TrainConfig,
    lora: LoraConfig | None = None,
) -> Planned:
    """Return what a training takes, its dev evaluations and reference pass (`read`) with it."""
    way = way_of(shape, config, lora, device)
    tokens = amount.tokens.times(times.epochs)
    trained = shape.weights if way.adapters is None else way.adapters
    saved = shape.weights if lora is None or lora.merge else trained
    largest = _largest(amount, times)
    held = memory.HELD[config.weights]
    a_saved = held if tokens.predicted else 4.0  # scorers are saved in float32
    of_checkpoint = held + state_bytes(config.optimizer, config.weights)
    operations = work.training(
        shape,
        tokens,
        adapters=way.adapters,
        checkpointing=way.checkpointing,
        logits_kept=memory.logits_kept(shape, largest, way) > 0,
    )
    of_reading = work.reading(shape, read)
    seconds = timing.seconds(
        device,
        config.precision,
        products=operations + of_reading,
        kept=_kept(shape, way, tokens) + fitted.READING * _kept(shape, way, read),
        a_byte=timing.a_byte_of(shape, way),
        logits=(tokens.predicted + fitted.READING_LOGITS * read.predicted) * shape.vocabulary,
        updated=trained * times.steps,
        calls=shape.layers * times.passes * times.steps,
    )
    return Planned(
        folder="",
        tokens=tokens.read + read.read,
        operations=operations + of_reading,
        memory=memory.training(shape, largest, way, passes=times.passes),
        seconds=seconds,
        disk=a_saved * saved,
        checkpoint=2 * of_checkpoint * trained,  # a new one stands beside the old for a while
    )


def _largest(amount: Amount, times: Schedule) -> Pass:
    """Return the largest forward pass of a training."""
    predicted = amount.tokens.predicted / max(1.0, amount.tokens.read)
    return Pass(times.largest, predicted * times.largest, times.squares)


def _kept(shape: Shape, way: Way, tokens: Tokens) -> float:
    """Return the bytes of activations of so many tokens, over all passes."""
    way = replace(way, checkpointing=False)
    return memory.activations(shape, Pass(tokens.read, attended=tokens.attended), way)


def reading(device: Device, shape: Shape, tokens: Tokens) -> Planned:
    """Return what it takes to read tokens in float32, as scorers are asked and samples drawn."""
    kind = "cuda" if device.is_gpu else "cpu"
    at_once = min(tokens.read, DEVICE_TOKENS if device.is_gpu else CPU_TOKENS)
    one = Pass(at_once, min(at_once, tokens.predicted))
    operations = work.reading(shape, tokens)
    way = Way("fp32", device=kind)
    seconds = timing.seconds(
        device,
        "fp32",
        products=operations,
        kept=fitted.READING * _kept(shape, way, replace(tokens, attended=0.0)),
        a_byte=timing.a_byte_of(shape, way),
        logits=fitted.READING_LOGITS * tokens.predicted * shape.vocabulary,
    )
    peak = memory.reading(shape, one, device=kind)
    return Planned("", tokens.read, operations, peak, seconds)


def writing(device: Device, shape: Shape, read: Tokens, new: float) -> Planned:
    """Return what it takes to write so many tokens; one takes as long as several that are read."""
    planned = reading(device, shape, read + Tokens(new, new, 0.0))
    as_read = reading(device, shape, read + Tokens(DECODING * new, new, 0.0))
    return replace(planned, seconds=as_read.seconds)


def way_of(shape: Shape, config: TrainConfig, lora: LoraConfig | None, device: Device) -> Way:
    """Return how a model of this shape is trained on a device."""
    return Way(
        precision=config.precision,
        weights=config.weights,
        optimizer=config.optimizer,
        adapters=None if lora is None else shape.adapters(lora),
        rank=0 if lora is None else lora.r,
        bits=None if lora is None else lora.bits,
        checkpointing=config.gradient_checkpointing,
        device="cuda" if device.is_gpu else "cpu",
        divided=device.count if config.sharding == "fsdp" else 1,
    )


def together(*parts: Planned) -> Planned:
    """Return stages as one: its peak is the highest."""
    first, *others = parts
    total = first
    for part in others:
        peaks = [stage.memory for stage in (total, part) if stage.memory is not None]
        total = replace(
            total,
            tokens=total.tokens + part.tokens,
            operations=total.operations + part.operations,
            memory=max(peaks, key=lambda peak: peak.total) if peaks else None,
            seconds=total.seconds + part.seconds,
            calls=total.calls + part.calls,
        )
    return total
