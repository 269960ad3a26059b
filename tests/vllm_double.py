"""A stand-in for vLLM with the names and the rules of release 0.33, which needs a GPU's libraries.

From its source: arguments of LLM and LLM.generate (vllm/entrypoints/llm.py, vllm/engine/arg_utils.py), fields and
checks of SamplingParams (vllm/sampling_params.py), RequestOutput and CompletionOutput (vllm/outputs.py), finish reasons
(vllm/v1/engine/__init__.py), when a response ends (vllm/v1/core/sched/utils.py, check_stop: end tokens, then limits;
vllm/v1/engine/detokenizer.py: stop texts, in what is decoded so far). `test_vllm.py` holds these names against vLLM
itself where it is installed. The model is read by transformers and continued token by token, without a cache.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast


@dataclass
class SamplingParams:
    """The arguments that matter here, with vLLM's defaults."""

    n: int = 1
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True

    def __post_init__(self) -> None:
        # vLLM raises it to 0.01, with a line in its log alone.
        assert not 0 < self.temperature < 0.01
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be in [0, 2], got {self.temperature}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")
        if any(not stop for stop in self.stop or ()):
            raise ValueError("stop cannot contain an empty string.")
        if self.stop and not self.detokenize:
            raise ValueError("stop strings are only supported when detokenize is True.")


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]


class LLM:
    """A model of a folder.

    `started` has every one that was started, `beside` those that were still running then, `asked` what was asked.
    """

    started: ClassVar[list[LLM]] = []

    def __init__(
        self,
        model: str,
        *,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        gpu_memory_utilization: float = 0.92,
        load_format: str = "auto",
        generation_config: str = "auto",
        max_model_len: int | None = None,
    ) -> None:
        self.options = {name: value for name, value in locals().items() if name != "self"}
        self.folder = Path(model)
        self.had_files = sorted(file.name for file in self.folder.iterdir())
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        room = self.model.config.max_position_embeddings
        if max_model_len not in (None, -1):
            room = max_model_len
        self.is_over = False
        self.beside = [other for other in LLM.started if not other.is_over]
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=room),
            engine_core=SimpleNamespace(shutdown=self._shut_down),
        )
        self.asked: list[tuple[list[int], SamplingParams]] = []
        LLM.started.append(self)

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        assert not use_tqdm
        outputs = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            tokens = prompt["prompt_token_ids"]
            assert len(tokens) < self.llm_engine.model_config.max_model_len
            self.asked.append((tokens, params))
            outputs.append(RequestOutput(tokens, [self._continued(tokens, params)]))
        return outputs

    def _continued(self, prompt: list[int], params: SamplingParams) -> CompletionOutput:
        ends = self._ends(params)
        generator = torch.Generator().manual_seed(params.seed or 0)
        new: list[int] = []
        while True:
            new.append(self._next([*prompt, *new], params, generator))
            if new[-1] in ends:
                return self._output(new, new[:-1], params, "stop", new[-1])
            stop = self._stop_text(new, params)
            if stop is not None:
                return self._output(new, new, params, "stop", stop)
            is_full = len(prompt) + len(new) >= self.llm_engine.model_config.max_model_len
            if len(new) == params.max_tokens or is_full:
                return self._output(new, new, params, "length", None)

    def _ends(self, params: SamplingParams) -> set[int]:
        ends = set(params.stop_token_ids or ())
        if params.ignore_eos:
            return ends
        of_model = self.model.generation_config.eos_token_id
        more = of_model if isinstance(of_model, list) else [of_model]
        return ends | {end for end in (*more, self.tokenizer.eos_token_id) if end is not None}

    def _next(self, tokens: list[int], params: SamplingParams, generator: torch.Generator) -> int:
        with torch.no_grad():
            logits = self.model(torch.tensor([tokens])).logits[0, -1].float()
        if params.temperature == 0:
            return int(logits.argmax())
        chances = (logits / params.temperature).softmax(-1)
        return int(torch.multinomial(chances, 1, generator=generator))

    def _stop_text(self, new: list[int], params: SamplingParams) -> str | None:
        if not params.stop:
            return None
        text = self._text(new, params)
        return next((stop for stop in params.stop if stop in text), None)

    def _text(self, tokens: list[int], params: SamplingParams) -> str:
        special = params.skip_special_tokens
        return str(self.tokenizer.decode(tokens, skip_special_tokens=special))

    def _output(
        self, new: list[int], shown: list[int], params: SamplingParams, finish: str, stop: Any
    ) -> CompletionOutput:
        text = self._text(shown, params) if params.detokenize else ""
        if isinstance(stop, str):
            text = text.split(stop, 1)[0]
        return CompletionOutput(0, text, new, finish, stop)

    def _shut_down(self) -> None:
        self.is_over = True


def writes_letters(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Save a random Llama that writes small letters: vysfwkzw after Hi. Its heads of 32 are the least vLLM takes."""
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config)
    letters = tokenizer("abcdefghijklmnopqrstuvwxyz").input_ids
    with torch.no_grad():
        head = model.lm_head.weight
        of_letters = 4 * head[letters]
        head.zero_()
        head[letters] = of_letters
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def installed(patched: pytest.MonkeyPatch) -> type[LLM]:
    """Let `import vllm` give this, for a test; return its LLM, which nothing has started yet."""
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    patched.setitem(sys.modules, "vllm", module)
    patched.setattr(LLM, "started", [])
    return LLM
