"""The engine that draws by vLLM, from a model that is read here.

vLLM gets tokens and gives tokens: prompts are written by the same template and tokenizer as for
transformers (`generate`), and what comes back is read by them, so that both engines are asked the same.

Source: vLLM 0.33, vllm/entrypoints/llm.py (LLM), vllm/sampling_params.py, vllm/outputs.py,
vllm/v1/core/sched/utils.py (check_stop: an end token comes before a limit).
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from rewarddiff import launch, models
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter, release_memory
from rewarddiff.models.reading import reason
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import (
    Sample,
    Tokens,
    answers,
    require_readable,
    row_names,
    stopped,
    until_end,
)
from rewarddiff.sampling.beams import BeamConfig
from rewarddiff.sampling.generate import SamplingConfig, seed_of
from rewarddiff.sampling.options import VLLM
from rewarddiff.store import Store, fingerprint

FORMAT = 1
"""The format of what is stored for a sample, a part of its key: an earlier one is never read."""

WINDOW = 1024
"""So many prompts are given to vLLM together: what it has answered is kept when it has answered all of them."""

SURROUNDINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers of every start
}
"""Environment variables that vLLM starts with, where they are not set."""


def require_vllm() -> None:
    """Find what keeps vLLM from being used, before it is needed.

    Raises:
        UserError: it is not installed, or several processes would each start it.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "engine: vllm is not installed; pip install 'rewarddiff[vllm]', or take engine: transformers"
        )
    if launch.size() > 1:
        raise UserError(
            f"engine: vllm is started by one process, and a launcher has started {launch.size()}; start "
            "the command without it (tensor_parallel_size gives vLLM several GPUs), or take engine: "
            "transformers"
        )


class VLLMEngine:
    """A model that vLLM reads here: see `engines.Engine`.

    vLLM starts when the first response has to be drawn, and ends with this object.

    Args:
        source: the model, a folder or a name of the hub.
        encoder: writes its prompts.
        weights: its fingerprint.

    Raises:
        UserError: as `require_vllm`, or the model does not read as many tokens as the options ask for.
    """

    def __init__(self, source: str | Path, options: VLLM, encoder: Encoder, weights: str) -> None:
        require_vllm()
        asked, context = options.max_model_len, encoder.context
        if asked is not None and context is not None and asked > context:
            raise UserError(
                f"{source}: engine.max_model_len is {asked}, and the model reads {context} positions; lower it, "
                "or leave it out"
            )
        self.source = source
        self.options = options
        self.encoder = encoder
        self.weights = weights
        self._llm: Any = None

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
        """Draw one response to each prompt: see `engines.Engine.samples`."""
        self.options.check(config.temperature)
        require_readable(self.encoder, prompts, row_names(rows, len(prompts)))
        encoded = [self.encoder.fitting(prompt, config.max_new_tokens) for prompt in prompts]
        ends = self.encoder.ends(prompts)
        settings = config.settings() | {"dtype": self.options.dtype}

        def key(tokens: Tokens) -> str:
            return fingerprint("vllm sample", FORMAT, self.weights, settings, ends, tokens)

        def answer(window: Sequence[Tokens]) -> list[dict[str, Any]]:
            stored = []
            for output in self._generated(window, ends, config):
                tokens = until_end(output.token_ids, ends)
                if meter is not None:
                    meter.tokens += len(tokens)
                ended = self._ended(output)
                stored.append(stopped(self.encoder.text(tokens), config.stop, ended=ended))
            return stored

        kept = answers(
            encoded, answer, key=key, store=store, batch_size=WINDOW, name=name, meter=meter
        )
        return [Sample(**values) for values in kept]

    def beams(
        self,
        prompts: Sequence[Prompt],
        draw: BeamConfig,
        config: SamplingConfig,
        *,
        store: Store | None = None,
        meter: Meter | None = None,
    ) -> list[list[Sample]]:
        """Refuse: vLLM's beams are not diverse."""
        raise UserError(
            f"{self.source}: vLLM searches no diverse beams; draw by temperature, or take engine: "
            "transformers"
        )

    def _generated(
        self, prompts: Sequence[Tokens], ends: Sequence[int], config: SamplingConfig
    ) -> list[Any]:
        """Return what vLLM gives for each prompt: its `CompletionOutput`."""
        longest = max(map(len, prompts)) + config.max_new_tokens
        llm = self._started(longest)
        parameters = []
        for prompt in prompts:
            options = drawing(prompt, ends, config)
            # Texts are read here; vLLM needs them to find stop texts.
            detokenize = bool(config.stop)
            parameters.append(library().SamplingParams(**options, detokenize=detokenize))
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        with self._explained("did not answer", "correct what it names"):
            requests = llm.generate(inputs, parameters, use_tqdm=False)
        return [request.outputs[0] for request in requests]

    def _started(self, longest: int) -> Any:
        """Return vLLM with the model.

        Args:
            longest: tokens that a prompt and its response may come to.

        Raises:
            UserError: it does not start, or has no room for so many.
        """
        if self._llm is None:
            mend = (
                "where memory is short, give engine.gpu_memory_utilization the share that is free, or "
                "lower engine.max_model_len"
            )
            with self._explained("does not start", mend):
                self._llm = start(self.source, self.options)
            weakref.finalize(self, end, self._llm)
        room = int(self._llm.llm_engine.model_config.max_model_len)
        if longest > room:
            raise UserError(
                f"{self.source}: a prompt and its response may come to {longest} tokens, and vLLM has room "
                f"for {room}; raise engine.gpu_memory_utilization or engine.max_model_len, or lower "
                "max_prompt or max_new_tokens"
            )
        return self._llm

    def _ended(self, output: Any) -> bool:
        """Return whether a response ended by itself: by an end token or a stop text."""
        if output.finish_reason not in ("stop", "length"):
            raise UserError(
                f"{self.source}: vLLM gave up a response ({output.finish_reason}); run the command "
                "again: what was answered is kept"
            )
        return bool(output.finish_reason == "stop")

    @contextmanager
    def _explained(self, what: str, mend: str) -> Iterator[None]:
        """Turn whatever vLLM raises into one line."""
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise UserError(f"{self.source}: vLLM {what} ({cause(error)}); {mend}") from error


def cause(error: Exception) -> str:
    """Return what an error of vLLM says, in a line: its settings are pydantic's, whose first line is a count."""
    if not isinstance(error, ValidationError):
        return reason(error)
    (message, *_) = [problem["msg"] for problem in error.errors()]
    return message.removeprefix("Value error, ").splitlines()[0].rstrip(".")[:200]


def drawing(prompt: Tokens, ends: Sequence[int], config: SamplingConfig) -> dict[str, Any]:
    """Return how one response is drawn, by the names that vLLM and its server have.

    `vllm.SamplingParams` leaves the model's own settings aside, as `generate` does.

    Args:
        ends: tokens that end a response.
    """
    return {
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": seed_of("draw", config.seed, prompt) if config.temperature else None,
        "stop": list(config.stop),
        "stop_token_ids": list(ends),
        # Those of generation_config.json would be added to the ends that are asked for.
        "ignore_eos": True,
        "skip_special_tokens": False,  # a stop text may hold some
    }


def start(source: str | Path, options: VLLM) -> Any:
    """Return a `vllm.LLM` of a model.

    Only safetensors are read, and no code of the model's folder is run.
    """
    vllm = library()
    # vLLM counts memory that torch keeps for later as taken.
    release_memory()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with whole(source, options.dtype) as folder:
        return vllm.LLM(
            model=str(folder),
            dtype=options.dtype,
            load_format="safetensors",
            trust_remote_code=False,
            generation_config="vllm",
            gpu_memory_utilization=options.gpu_memory_utilization,
            tensor_parallel_size=options.tensor_parallel_size,
            max_model_len=options.max_model_len or -1,  # -1: as many as fit
        )


def library() -> Any:
    """Return vLLM, imported with its surroundings: it takes seconds, and writes a log."""
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    import vllm

    return vllm


def end(llm: Any) -> None:
    """End the process in which vLLM holds the model, and so give back its memory."""
    llm.llm_engine.engine_core.shutdown()


@contextmanager
def whole(source: str | Path, dtype: str) -> Iterator[Path]:
    """Give the folder of a model; of an adapter, one where it is worked into the weights, for a while.

    vLLM's own adapters leave out DoRA, layers that are trained whole, and new tokens.
    """
    folder, *bases = models.lineage(source)
    if not bases:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rewarddiff-") as merged:
        model, _ = models.load_causal_lm(source)
        model.to(getattr(torch, dtype)).save_pretrained(merged)
        models.saved_tokenizer(source).save_pretrained(merged)
        del model
        yield Path(merged)
