"""A judge that is read here, by transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from transformers import PreTrainedModel

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.endpoints.chat import Reply, Usage
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Message, Prompt
from rewarddiff.sampling import SamplingConfig, sample
from rewarddiff.scorers.judging.forms import Form, NoVerdict
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.questions import Answer, Unscored
from rewarddiff.store import Store


class LocalJudge:
    """Reads a language model's replies: see `questions.Engine`. Weights are loaded when it is asked.

    Raises:
        UserError: it is no language model, or has no chat template.
    """

    def __init__(self, options: Judge, form: Form) -> None:
        assert options.local is not None
        self.usage = Usage()
        self._options = options
        self._folder = options.local
        self._form = form
        tokenizer = models.load_tokenizer(self._folder)
        if tokenizer.chat_template is None:
            raise UserError(
                f"{self._folder}: has no chat template, so it cannot be asked; "
                "a judge is a language model that was tuned to follow instructions"
            )
        self._context = models.context_length(self._folder)
        self._encoder = Encoder(tokenizer, LengthConfig(max_response=1), self._context)

    def __repr__(self) -> str:
        return f"LocalJudge({models.fingerprint(self._folder)})"

    @cached_property
    def _model(self) -> PreTrainedModel:
        device = models.device()
        # As it was saved where that is fast; in float32 on a CPU.
        dtype: torch.dtype | str = torch.float32 if device.type == "cpu" else "auto"
        model, _ = models.load_causal_lm(self._folder, dtype=dtype)
        placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]
        return placed

    def check(self) -> None:
        """Do nothing: what is read here can be asked."""

    def ask(
        self,
        messages: Sequence[str],
        rows: Sequence[str],
        store: Store | None,
        progress: str | None,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield place and answer of every message: see `questions.Engine`."""
        prompts = [(Message("user", message),) for message in messages]
        lengths = [len(self._encoder.prompt(prompt)) for prompt in prompts]
        fitting = []
        for place, length in enumerate(lengths):
            if self._context is None or length + self._options.max_tokens <= self._context:
                fitting.append(place)
            else:
                yield place, self._unscored("more than the judge can read")
        replies = self._replies([prompts[place] for place in fitting], store, progress)
        for place, reply in zip(fitting, replies, strict=True):
            self.usage.count(lengths[place], None)
            yield place, self._verdict(reply)

    def _replies(
        self, prompts: Sequence[Prompt], store: Store | None, progress: str | None
    ) -> list[Reply]:
        """Return the model's replies, which the store keeps as samples."""
        if not prompts:
            return []
        options = self._options
        config = SamplingConfig(
            max_new_tokens=options.max_tokens,
            temperature=options.temperature,
            stop=(),
            batch_size=options.concurrency,
            seed=options.seed,
        )
        meter = Meter()
        samples = sample(
            self._model,
            self._encoder,
            prompts,
            config,
            weights=models.fingerprint(self._folder),
            store=store,
            meter=meter,
            name=progress or "judging",
        )
        self.usage.calls += len(prompts)
        self.usage.count(None, meter.tokens)
        return [Reply(one.text, "stop" if one.ended else "length") for one in samples]

    def _verdict(self, reply: Reply) -> Answer:
        try:
            return self._form(reply)
        except NoVerdict as error:
            return self._unscored(str(error))

    def _unscored(self, cause: str) -> Unscored:
        self.usage.fail(cause)
        return Unscored(cause)
