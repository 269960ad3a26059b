"""A small model behind `vllm serve` is the policy that it is when it is read here. Needs vLLM."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import vllm_double
from transformers import PreTrainedTokenizerFast
from transformers_server import wait_for

from rewarddiff.errors import UserError
from rewarddiff.records import Message
from rewarddiff.sampling import Sample, SamplingConfig, read_here
from rewarddiff.sampling.served import ServedModel
from rewarddiff.sampling.served_tokens import served_engine

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

SECONDS_TO_START = 600
GREEDY = SamplingConfig(max_new_tokens=8, stop=())
TALKS = [(Message("user", "Hi"),), (Message("system", "Be short."), Message("user", "Who?"))]


@dataclass(frozen=True)
class Behind:
    """A model's folder, and the address where it is served under the name `letters`."""

    folder: Path
    url: str

    def samples(
        self, prompts: Any, config: SamplingConfig = GREEDY, **options: Any
    ) -> list[Sample]:
        served = ServedModel(url=self.url, model="letters", **options)
        return served_engine(served).samples(prompts, config)


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Iterator[Behind]:
    """The model's own settings would punish every letter that was written before."""
    root = tmp_path_factory.mktemp("vllm")
    folder = vllm_double.writes_letters(root / "policy", tiny_tokenizer)
    (folder / "generation_config.json").write_text(json.dumps({"repetition_penalty": 9.0}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
        "--served-model-name", "letters", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
    ]  # fmt: skip
    log = root / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", process, log, SECONDS_TO_START)
        yield Behind(folder, url)
    finally:
        process.terminate()
        process.wait(60)


def test_asked_with_tokens_it_answers_as_here(behind: Behind) -> None:
    template = str(behind.folder)
    prompts = ["Hi", "What?", *TALKS, (*TALKS[0], Message("assistant", "I am"))]
    here = read_here(behind.folder)
    drawn = behind.samples(prompts, engine="vllm", template=template)
    assert drawn == here.samples(prompts, GREEDY)
    assert drawn[0] == Sample("vysfwkzw", ended=False)
    stopped = replace(GREEDY, stop=("a", "b", "c", "d", "fw"))
    drawn = behind.samples(prompts, stopped, engine="vllm", template=template)
    assert drawn == here.samples(prompts, stopped)
    assert drawn[0] == Sample("vys", ended=True)


def test_asked_with_words_its_own_settings_have_no_part(behind: Behind) -> None:
    own = read_here(behind.folder).samples(TALKS, GREEDY)
    assert behind.samples(TALKS, engine="vllm") == own
    assert behind.samples(TALKS) != own  # as any other server is asked


def test_draws_hang_on_prompt_and_seed_alone(behind: Behind) -> None:
    warm = replace(GREEDY, temperature=1.0)
    prompts = [f"Prompt {i}" for i in range(8)]
    options = {"engine": "vllm", "template": str(behind.folder)}
    whole = behind.samples(prompts, warm, **options)
    assert len({one.text for one in whole}) > 4
    assert behind.samples(prompts[::-1], warm, concurrency=1, **options)[::-1] == whole
    assert behind.samples(prompts, replace(warm, seed=1), **options) != whole


def test_a_name_that_it_does_not_serve_is_one_line(behind: Behind) -> None:
    served = ServedModel(url=behind.url, model="other", engine="vllm", template=str(behind.folder))
    with pytest.raises(UserError, match=r"other.*; correct url, or model \(other\)"):
        served_engine(served).samples(["Hi"], GREEDY)
