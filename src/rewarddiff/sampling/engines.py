"""What draws responses, whatever it is: a model that is read here, or one behind a server.

`vllm.VLLMEngine` reads a model here too, `served.Served` asks a server; `several` and `conversations` ask
any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import Sample, require_readable, row_names
from rewarddiff.sampling.beams import BeamConfig
from rewarddiff.sampling.diverse import beam_samples
from rewarddiff.sampling.generate import SamplingConfig, sample
from rewarddiff.sampling.options import VLLM, AnyEngine
from rewarddiff.sampling.vllm import VLLMEngine
from rewarddiff.store import Store


class Engine(Protocol):
    """Draws responses from one policy."""

    @property
    def identity(self) -> str:
        """What the policy is: equal ones answer alike, and share what the store keeps."""
        ...

    def samples(
        self,
        prompts: Sequence[Prompt],
        config: SamplingConfig,
        *,
        rows: Sequence[str] = (),
        store: Store | None = None,
        meter: Meter | None = None,
        name: str = "sampling",
    ) -> list[Sample]:
        """Draw one response to each prompt, whatever stands beside it.

        Args:
            rows: where the prompts come from, for errors; empty: their numbers.
            store: where responses are kept and found again.
            meter: counts the tokens that are drawn.
            name: of the progress that is shown.

        Raises:
            UserError: a prompt that cannot be answered. What was answered is kept.
        """
        ...

    def beams(
        self,
        prompts: Sequence[Prompt],
        draw: BeamConfig,
        config: SamplingConfig,
        *,
        store: Store | None = None,
        meter: Meter | None = None,
    ) -> list[list[Sample]]:
        """Search diverse beams of each prompt, the best first.

        Args:
            config: stop texts and batch size; the rest is that of `draw`.

        Raises:
            UserError: this engine has no such search.
        """
        ...


class EngineHere(Engine, Protocol):
    """Draws responses from a model that is read here."""

    @property
    def encoder(self) -> Encoder:
        """What writes its prompts."""
        ...


def read_here(
    source: str | Path, engine: AnyEngine | None = None, *, max_prompt: int | None = None
) -> EngineHere:
    """Return the engine that reads a language model: a folder, or a name of the hub.

    Args:
        engine: what continues its prompts; None: transformers.
        max_prompt: tokens; a longer prompt keeps its end.

    Raises:
        UserError: there is no such model, or the engine cannot be used.
    """
    lengths = LengthConfig(max_prompt=max_prompt, max_response=1)
    context = models.context_length(source)
    weights = models.fingerprint(source)
    if isinstance(engine, VLLM):
        encoder = Encoder(models.load_tokenizer(source), lengths, context)
        return VLLMEngine(source, engine, encoder, weights)
    model, tokenizer = models.load_causal_lm(source)
    placed: PreTrainedModel = model.to(models.device())  # type: ignore[arg-type]
    return Here(placed, Encoder(tokenizer, lengths, context), weights)


@dataclass(frozen=True)
class Here:
    """A model that is read here, by transformers: see `EngineHere`.

    Attributes:
        encoder: writes its prompts.
        weights: its fingerprint.
    """

    model: PreTrainedModel
    encoder: Encoder
    weights: str

    @property
    def identity(self) -> str:
        return self.weights

    def samples(
        self,
        prompts: Sequence[Prompt],
        config: SamplingConfig,
        *,
        rows: Sequence[str] = (),
        store: Store | None = None,
        meter: Meter | None = None,
        name: str = "sampling",
    ) -> list[Sample]:
        """Draw one response to each prompt: see `Engine.samples`."""
        require_readable(self.encoder, prompts, row_names(rows, len(prompts)))
        return sample(
            self.model,
            self.encoder,
            prompts,
            config,
            weights=self.weights,
            store=store,
            meter=meter,
            name=name,
        )

    def beams(
        self,
        prompts: Sequence[Prompt],
        draw: BeamConfig,
        config: SamplingConfig,
        *,
        store: Store | None = None,
        meter: Meter | None = None,
    ) -> list[list[Sample]]:
        """Search diverse beams of each prompt: see `Engine.beams`."""
        return beam_samples(
            self.model,
            self.encoder,
            prompts,
            draw,
            config,
            weights=self.weights,
            store=store,
            meter=meter,
        )
