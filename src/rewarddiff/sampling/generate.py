"""Greedy and temperature samples through transformers' own generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from rewarddiff.config import at_least
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import (
    Sample,
    Tokens,
    answers,
    left_padded,
    padding,
    stopped,
    until_end,
)
from rewarddiff.sampling.options import AnyEngine, Transformers
from rewarddiff.sampling.rows import Rows, keeps_cache
from rewarddiff.store import Store, fingerprint


@dataclass(frozen=True)
class SamplingConfig:
    """How responses are drawn.

    Attributes:
        max_new_tokens: a response is cut there.
        temperature: 0 is greedy.
        stop: texts before which a response is cut, such as the next turn of a dialogue.
        batch_size: prompts that are continued side by side by transformers; vLLM chooses by itself.
        seed: of temperature sampling, together with the prompt.
        engine: what continues the prompts of a model that is read here.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    stop: tuple[str, ...] = ("\n\nHuman:", "\n\nAssistant:")
    batch_size: int = 16
    seed: int = 0
    engine: AnyEngine = field(default_factory=Transformers)

    def __post_init__(self) -> None:
        at_least(self, 1, "max_new_tokens", "batch_size")
        at_least(self, 0, "temperature")
        if "" in self.stop:
            raise UserError("stop: an empty text ends every response at once; leave it out")
        self.engine.check(self.temperature)

    def settings(self) -> dict[str, Any]:
        """Return what a response hangs on besides the prompt and what draws it, ready for JSON."""
        settings = asdict(self)
        del settings["engine"]
        return settings | {"batch_size": None}


FORMAT = 2
"""The format of what is stored for a sample, a part of its key: an earlier one is never read."""


def sample(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    config: SamplingConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: Meter | None = None,
    name: str = "sampling",
) -> list[Sample]:
    """Draw one response to each prompt.

    Args:
        weights: fingerprint of the model, part of the store's key.
        name: of the progress that is shown.
    """
    encoded = [encoder.fitting(prompt, config.max_new_tokens) for prompt in prompts]
    ends = encoder.ends(prompts)
    settings = config.settings() | {"dtype": str(model.dtype)}

    def key(tokens: Tokens) -> str:
        return fingerprint("sample", FORMAT, weights, settings, ends, tokens)

    def answer(batch: Sequence[Tokens]) -> list[dict[str, Any]]:
        responses = _continue(model, batch, ends, encoder.tokenizer, config)
        if meter is not None:
            meter.tokens += sum(map(len, responses))
        return [
            stopped(encoder.text(tokens), config.stop, ended=len(tokens) < config.max_new_tokens)
            for tokens in responses
        ]

    stored = answers(
        encoded,
        answer,
        key=key,
        store=store,
        batch_size=config.batch_size,
        name=name,
        meter=meter,
    )
    return [Sample(**values) for values in stored]


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    ends: list[int],
    tokenizer: Any,
    config: SamplingConfig,
) -> list[list[int]]:
    """Return new tokens for each prompt, up to and without the end token."""
    pad = padding(tokenizer, ends)
    options: dict[str, Any] = {}
    if config.stop:
        options |= {"stop_strings": list(config.stop), "tokenizer": tokenizer}
    if config.temperature:
        seeds = [seed_of("draw", config.seed, prompt) for prompt in prompts]
        options["logits_processor"] = LogitsProcessorList([_Draw(seeds, config.temperature)])
    new = _generated(model, prompts, config.max_new_tokens, ends=ends, pad=pad, options=options)
    return [until_end(tokens, [*ends, pad]) for tokens in new]


def sample_tokens(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    draws: Sequence[object],
    *,
    temperature: float,
    max_new_tokens: int,
    ends: Sequence[int],
    pad: int,
    stops: Callable[[Sequence[int]], bool] | None = None,
) -> list[Tokens]:
    """Return the tokens drawn behind each prompt, with the end token where one was drawn.

    They are those that the policy drew: a text read again may have others.

    Args:
        draws: what the randomness of each response comes from, JSON-able.
        temperature: > 0.
        ends: any of these ends a response.
        pad: what fills rows up behind their end.
        stops: whether a response is over with these tokens; None: it is over at its end token.
    """
    seeds = [seed_of("tokens", draw) for draw in draws]

    def is_over(tokens: Sequence[int]) -> bool:
        return tokens[-1] in ends or (stops is not None and stops(tokens))

    if keeps_cache(model):
        uniform = _uniform(seeds, max_new_tokens)
        return _grown(model, prompts, uniform, is_over, temperature=temperature, pad=pad)
    stopping = _Stop(max(map(len, prompts)), is_over)
    options = {
        "logits_processor": LogitsProcessorList([_Draw(seeds, temperature)]),
        "stopping_criteria": StoppingCriteriaList([stopping]),
    }
    new = _generated(model, prompts, max_new_tokens, ends=ends, pad=pad, options=options)
    return [tuple(tokens[: stopping.lengths.get(row)]) for row, tokens in enumerate(new)]


def _grown(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    uniform: Tensor,
    is_over: Callable[[Sequence[int]], bool],
    *,
    temperature: float,
    pad: int,
) -> list[Tokens]:
    """Return new tokens for each prompt, up to the first with which a response is over.

    A prompt that comes several times is read once, and a row that is over is read no further.

    Args:
        uniform: a number in [0, 1) for each token to draw, (prompts, tokens).
    """
    distinct = list(dict.fromkeys(prompts))
    place_of = {prompt: place for place, prompt in enumerate(distinct)}
    count = uniform.shape[1]
    responses: list[list[int]] = [[] for _ in prompts]
    going_on = list(range(len(prompts)))
    model.eval()
    with torch.no_grad(), _casts_kept(model):
        rows = Rows(model, distinct, pad)
        rows.select([place_of[prompt] for prompt in prompts])
        for step in range(count):
            tokens = _drawn(rows.logits / temperature, uniform[going_on, step]).tolist()
            for i, token in zip(going_on, tokens, strict=True):
                responses[i].append(token)
            places = [place for place, i in enumerate(going_on) if not is_over(responses[i])]
            if not places or step == count - 1:
                break
            if len(places) < len(tokens):
                rows.select(places)
                going_on = [going_on[place] for place in places]
            rows.append([tokens[place] for place in places])
    return list(map(tuple, responses))


def _uniform(seeds: Sequence[int], count: int) -> Tensor:
    """Return `count` numbers in [0, 1) by each seed, (seeds, count), the same on every device."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(count, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


def _drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return a draw from softmax(logits) for each row: where its distribution passes `uniform`."""
    passed = logits.double().softmax(-1).cumsum(-1)
    goals = uniform.to(passed.device).unsqueeze(-1) * passed[:, -1:]
    # A token without probability passes nothing, and is never drawn.
    places = torch.searchsorted(passed, goals, right=True).squeeze(-1)
    return places.clamp(max=logits.shape[-1] - 1)


def _generated(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    max_new_tokens: int,
    *,
    ends: Sequence[int],
    pad: int,
    options: dict[str, Any],
) -> list[list[int]]:
    """Return new tokens for each prompt, filled up behind the end."""
    ids, mask = left_padded(prompts, pad, model.device)
    generate: Any = model.generate
    model_settings: Any = model.generation_config
    model.eval()
    try:
        # The model's own settings (a repetition penalty, top-k) are set aside: samples are to be
        # the model's.
        model.generation_config = GenerationConfig()
        with torch.no_grad(), _casts_kept(model):
            output = generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(ends),
                pad_token_id=pad,
                do_sample=False,
                **options,
            )
    finally:
        model.generation_config = model_settings
    new: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return new


@contextmanager
def _casts_kept(model: PreTrainedModel) -> Iterator[None]:
    """Let autocast cast every weight once, and not again at every token.

    It keeps what it has cast of weights that require a gradient, and of no frozen ones.
    """
    frozen = []
    if torch.is_autocast_enabled(model.device.type):
        frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for weights in frozen:
            weights.requires_grad_(True)
        yield
    finally:
        for weights in frozen:
            weights.requires_grad_(False)


def seed_of(*parts: object) -> int:
    """Return a seed of 60 bits that is made from these parts."""
    return int(fingerprint(*parts)[:15], 16)


class _Draw(LogitsProcessor):
    """Make the largest logit a draw from softmax(logits / temperature), by Gumbel noise.

    Each row has a generator of its own, so a sample depends on its prompt and its seed, and not on
    the prompts it shares a batch with.
    """

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        self.temperature = temperature
        self.seeds = seeds
        self.generators: list[torch.Generator] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        device = scores.device
        if not self.generators:
            self.generators = [torch.Generator(device).manual_seed(seed) for seed in self.seeds]
        # −log of an exponential draw is a Gumbel draw.
        waits = [
            torch.empty(scores.shape[-1], device=device).exponential_(generator=generator)
            for generator in self.generators
        ]
        return scores.float() / self.temperature - torch.stack(waits).log()


class _Stop(StoppingCriteria):
    """End each row as soon as its new tokens are a response that is over.

    transformers' own criterion for texts also looks into the prompt.

    Args:
        before: tokens of the prompts, filled up.

    Attributes:
        lengths: new tokens of the rows that are over.
    """

    def __init__(self, before: int, stops: Callable[[Sequence[int]], bool]) -> None:
        self.before = before
        self.stops = stops
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        new: list[list[int]] = input_ids[:, self.before :].tolist()
        for row, tokens in enumerate(new):
            if row not in self.lengths and self.stops(tokens):
                self.lengths[row] = len(tokens)
        is_over = [row in self.lengths for row in range(len(new))]
        return torch.tensor(is_over, device=input_ids.device)
