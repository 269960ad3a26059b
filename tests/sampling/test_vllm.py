"""A policy that vLLM continues is the one that transformers continues: what goes in, what comes out, what is refused.

The stand-in (`vllm_double`) has vLLM's rules. Where vLLM is installed, what a policy answers is asked of vLLM too.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import vllm_double
from pydantic.dataclasses import dataclass
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Message
from rewarddiff.sampling import Sample, SamplingConfig, read_here, vllm
from rewarddiff.sampling.options import VLLM
from rewarddiff.sampling.several import Beams, Temperature, several
from rewarddiff.store import Store

GREEDY = SamplingConfig(max_new_tokens=8, stop=(), engine=VLLM())
WARM = replace(GREEDY, temperature=1.0)
PROMPTS = ["Hi", "A longer one, of more words", "What?", (Message("user", "Who are you?"),)]

IS_INSTALLED = importlib.util.find_spec("vllm") is not None


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    return vllm_double.writes_letters(tmp_path_factory.mktemp("vllm") / "policy", tiny_tokenizer)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> type[vllm_double.LLM]:
    return vllm_double.installed(monkeypatch)


NEEDS_VLLM = pytest.mark.skipif(not IS_INSTALLED, reason="vLLM is not installed")
BY_VLLM = [NEEDS_VLLM, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=["double", pytest.param("vllm", marks=BY_VLLM)])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test on the stand-in, and on vLLM where it is installed."""
    if request.param == "double":
        vllm_double.installed(monkeypatch)


def by_vllm(
    folder: Path, prompts: Sequence[Any], config: SamplingConfig, **more: Any
) -> list[Sample]:
    return read_here(folder, config.engine).samples(prompts, config, **more)


def by_transformers(folder: Path, prompts: Sequence[Any], config: SamplingConfig) -> list[Sample]:
    return read_here(folder).samples(prompts, config)


# --- what a policy answers ------------------------------------------------------------------------


def test_greedy_answers_are_those_of_transformers(either: None, folder: Path) -> None:
    drawn = by_vllm(folder, PROMPTS, GREEDY)
    assert drawn == by_transformers(folder, PROMPTS, GREEDY)
    assert drawn[0] == Sample("vysfwkzw", ended=False)
    assert len({one.text for one in drawn}) == 4


def test_a_response_ends_at_the_end_token_and_at_no_other(
    either: None, folder: Path, tmp_path: Path
) -> None:
    """vysfwkzw: f becomes the end token, and y that of generation_config.json, which no engine heeds here."""
    ending = shutil.copytree(folder, tmp_path / "ending")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "f"
    tokenizer.save_pretrained(ending)
    (y,) = tokenizer("y").input_ids
    (ending / "generation_config.json").write_text(json.dumps({"eos_token_id": y}))
    engine = read_here(ending, VLLM())
    for most, ended in ((8, True), (4, True), (3, False)):
        # An end token that is the last one allowed still ends it by itself.
        config = replace(GREEDY, max_new_tokens=most)
        assert engine.samples(["Hi"], config) == [Sample("vys", ended)]
        assert by_transformers(ending, ["Hi"], config) == [Sample("vys", ended)]


def test_a_stop_text_cuts_a_response_and_ends_it(either: None, folder: Path) -> None:
    config = replace(GREEDY, stop=("never there", "fw"))
    engine = read_here(folder, VLLM())
    assert engine.samples(["Hi"], config) == [Sample("vys", ended=True)]
    assert engine.samples(["Hi"], replace(config, max_new_tokens=5)) == [Sample("vys", True)]
    assert engine.samples(["Hi"], replace(config, max_new_tokens=4)) == [Sample("vysf", False)]
    assert by_transformers(folder, ["Hi"], config) == [Sample("vys", ended=True)]


def test_a_draw_hangs_on_its_prompt_and_its_seed_alone(
    either: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [f"Prompt {i}" for i in range(10)]
    shuffled = random.Random(0).sample(range(10), 10)
    engine = read_here(folder, WARM.engine)
    together = engine.samples(prompts, WARM)
    assert len({one.text for one in together}) > 5
    monkeypatch.setattr(vllm, "WINDOW", 3)
    again = engine.samples([prompts[i] for i in shuffled], WARM)
    assert again == [together[i] for i in shuffled]
    assert [engine.samples([prompt], WARM)[0] for prompt in prompts[:3]] == together[:3]
    assert engine.samples(prompts, replace(WARM, seed=1)) != together


def test_several_draws_of_a_prompt_have_seeds_of_their_own(either: None, folder: Path) -> None:
    engine = read_here(folder, VLLM())
    draw = Temperature(k=4, temperature=1.0, max_new_tokens=8)
    (drawn,) = several(engine, ["Hi"], draw, GREEDY)
    assert len({one.text for one in drawn}) > 1
    assert several(engine, ["Hi"], replace(draw, k=2), GREEDY) == [drawn[:2]]


def test_an_adapter_is_worked_into_the_weights(either: None, folder: Path, tmp_path: Path) -> None:
    """DoRA, and a layer that is trained whole: vLLM's own adapters have neither."""
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "up_proj"], use_dora=True, modules_to_save=["lm_head"]
    )
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weights.add_(torch.randn_like(weights), alpha=0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    drawn = by_vllm(tmp_path / "adapter", PROMPTS, GREEDY)
    assert drawn == by_transformers(tmp_path / "adapter", PROMPTS, GREEDY)
    assert drawn != by_transformers(folder, PROMPTS, GREEDY)


@NEEDS_VLLM
def test_the_stand_in_has_the_names_of_vllm() -> None:
    import vllm as real
    from vllm.engine.arg_utils import EngineArgs
    from vllm.outputs import CompletionOutput

    of_engine = inspect.signature(EngineArgs).parameters.keys()
    assert inspect.signature(vllm_double.LLM).parameters.keys() - of_engine == set()
    ours = inspect.signature(vllm_double.SamplingParams).parameters
    theirs = inspect.signature(real.SamplingParams).parameters
    assert {name: theirs[name].default for name in ours} == {
        name: parameter.default for name, parameter in ours.items()
    }
    generate = inspect.signature(real.LLM.generate).parameters.keys()
    assert inspect.signature(vllm_double.LLM.generate).parameters.keys() - generate == set()
    of_output = {field.name for field in fields(CompletionOutput)}
    assert {field.name for field in fields(vllm_double.CompletionOutput)} - of_output == set()


# --- what vLLM is asked ---------------------------------------------------------------------------


def test_what_vllm_is_started_with(
    double: type[vllm_double.LLM], folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    options = VLLM(
        dtype="bfloat16", gpu_memory_utilization=0.5, tensor_parallel_size=2, max_model_len=64
    )
    by_vllm(folder, ["Hi"], replace(WARM, engine=options, stop=("x",)))
    (llm,) = double.started
    assert llm.options == {
        "model": str(folder), "dtype": "bfloat16", "load_format": "safetensors",
        "trust_remote_code": False, "generation_config": "vllm", "gpu_memory_utilization": 0.5,
        "tensor_parallel_size": 2, "max_model_len": 64,
    }  # fmt: skip
    ((tokens, params),) = llm.asked
    assert tokens == tiny_tokenizer("Hi").input_ids
    assert (params.max_tokens, params.temperature, params.stop) == (8, 1.0, ["x"])
    assert params.stop_token_ids == [tiny_tokenizer.eos_token_id]
    assert 0 <= params.seed < 2**63  # what vLLM packs into a message
    assert (params.n, params.top_p, params.top_k, params.min_p) == (1, 1.0, 0, 0.0)
    assert params.repetition_penalty == 1.0


def test_without_other_options_it_reads_float32_and_as_much_as_fits(
    double: type[vllm_double.LLM], folder: Path
) -> None:
    by_vllm(folder, ["Hi"], GREEDY)
    (llm,) = double.started
    assert (llm.options["dtype"], llm.options["max_model_len"]) == ("float32", -1)
    assert llm.asked[0][1].seed is None


def test_every_prompt_and_every_seed_draws_by_a_number_of_its_own(
    double: type[vllm_double.LLM], folder: Path
) -> None:
    engine = read_here(folder, VLLM())
    for seed in (0, 1):
        engine.samples(PROMPTS, replace(WARM, seed=seed))
    assert len({params.seed for _, params in double.started[0].asked}) == 8


def test_a_merged_adapter_lies_there_only_while_it_is_read(
    double: type[vllm_double.LLM], folder: Path, tmp_path: Path
) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    adapted.save_pretrained(tmp_path / "adapter")
    by_vllm(tmp_path / "adapter", ["Hi"], replace(GREEDY, engine=VLLM(dtype="bfloat16")))
    (llm,) = double.started
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(llm.had_files)
    assert "adapter_config.json" not in llm.had_files
    assert not llm.folder.exists()


# --- what is kept, and how long vLLM runs ---------------------------------------------------------


def test_what_is_kept_starts_nothing(
    double: type[vllm_double.LLM], folder: Path, tmp_path: Path
) -> None:
    meter = Meter()
    with Store(tmp_path / "store.sqlite") as store:
        first = by_vllm(folder, [*PROMPTS, "Hi"], WARM, store=store, meter=meter)
        assert len(double.started[0].asked) == 4  # equal prompts have one answer
        assert meter.tokens == 4 * 8
        assert by_vllm(folder, PROMPTS, WARM, store=store) == first[:4]
        assert len(double.started) == 1
        for other in (
            replace(WARM, engine=VLLM(dtype="bfloat16")), replace(WARM, seed=1), replace(WARM, max_new_tokens=9),
        ):  # fmt: skip
            count = len(double.started)
            by_vllm(folder, ["Hi"], other, store=store)
            assert len(double.started) == count + 1
        # Memory and GPUs change no answer.
        by_vllm(folder, ["Hi"], replace(WARM, engine=VLLM(gpu_memory_utilization=0.3)), store=store)
        assert len(double.started) == count + 1


def test_answers_of_the_two_engines_are_kept_apart(
    double: type[vllm_double.LLM], folder: Path, tmp_path: Path
) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        read_here(folder).samples(["Hi"], WARM, store=store)
        by_vllm(folder, ["Hi"], WARM, store=store)
    assert len(double.started) == 1


def test_it_starts_once_and_ends_with_its_engine(
    double: type[vllm_double.LLM], folder: Path
) -> None:
    engine = read_here(folder, GREEDY.engine)
    assert double.started == []
    engine.samples(["Hi"], GREEDY)
    engine.samples(["What?"], GREEDY)
    (llm,) = double.started
    assert not llm.is_over
    del engine
    gc.collect()
    assert llm.is_over


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_temperatures_that_vllm_would_change_are_refused(temperature: float) -> None:
    with pytest.raises(UserError, match=rf"temperature is {temperature}, and vLLM draws at 0 or"):
        replace(GREEDY, temperature=temperature)
    SamplingConfig(temperature=temperature)  # transformers takes it


def test_other_refusals_of_options(double: type[vllm_double.LLM], folder: Path) -> None:
    with pytest.raises(UserError, match="stop: an empty text ends every response at once"):
        SamplingConfig(stop=("",), engine=VLLM())
    with pytest.raises(
        UserError, match="searches no diverse beams; draw by temperature, or take engine: transf"
    ):
        several(read_here(folder, VLLM()), ["Hi"], Beams(), GREEDY)
    assert double.started == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vlm", "should be 'transformers' or 'vllm' – did you mean 'vllm'"),
        (
            {"name": "vllm", "dtype": "int8"},
            "'engine.dtype' is 'int8', should be 'float32', 'bfloat16' or",
        ),
        ({"name": "vllm", "gpu_memory_utilization": 1.5}, "a share of the GPU's memory"),
        ({"name": "vllm", "top_k": 5}, "unknown key 'engine.top_k'"),
    ],
)
def test_a_recipe_that_says_it_wrongly(given: Any, message: str) -> None:
    assert load_recipe({"engine": "vllm"}, [], SamplingConfig).engine == VLLM()
    with pytest.raises(UserError, match=message):
        load_recipe({"engine": given}, [], SamplingConfig)


def test_without_vllm_one_line_says_how_to_have_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vllm is not installed; pip install 'rewarddiff\[vllm\]'"):
        read_here(folder, VLLM())


def test_under_a_launcher_it_is_refused(
    double: type[vllm_double.LLM], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="a launcher has started 2; start the command without it"):
        read_here(folder, VLLM())


def test_a_prompt_for_which_there_is_no_room(double: type[vllm_double.LLM], folder: Path) -> None:
    config = replace(GREEDY, engine=VLLM(max_model_len=16))
    # A token for each of 9 letters, and 8 new ones.
    with pytest.raises(UserError, match="may come to 17 tokens, and vLLM has room for 16; raise"):
        by_vllm(folder, ["9 letters"], config)
    assert len(by_vllm(folder, ["8letters"], config)) == 1


def test_what_vllm_raises_is_one_line(
    double: type[vllm_double.LLM], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Free memory on device (3/80 GiB) is less than desired.\nSee above.")

    monkeypatch.setattr(double, "generate", fail)
    with pytest.raises(UserError, match=r"vLLM did not answer \(Free memory on device"):
        by_vllm(folder, ["Hi"], GREEDY)
    monkeypatch.setattr(double, "__init__", fail)
    with pytest.raises(
        UserError, match=r"vLLM does not start \(Free memory .*; where memory is short"
    ):
        by_vllm(folder, ["Hi"], GREEDY)


def test_of_settings_that_vllm_refuses_the_cause_is_told(
    double: type[vllm_double.LLM], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are checked by pydantic, whose errors begin with how many there are."""

    @dataclass
    class ModelConfig:
        dtype: str

        def __post_init__(self) -> None:
            raise ValueError("Bfloat16 is only supported on GPUs with compute capability 8.0.")

    def start(*_: Any, **options: Any) -> None:
        ModelConfig(dtype=options["dtype"])

    monkeypatch.setattr(double, "__init__", start)
    with pytest.raises(UserError, match=r"vLLM does not start \(Bfloat16 is only .* 8\.0\); where"):
        by_vllm(folder, ["Hi"], GREEDY)


def test_more_tokens_than_the_model_reads_are_refused_before_it_starts(
    double: type[vllm_double.LLM], folder: Path
) -> None:
    with pytest.raises(UserError, match="max_model_len is 129, and the model reads 128 positions"):
        read_here(folder, VLLM(max_model_len=129))
    read_here(folder, VLLM(max_model_len=128))


def test_a_response_that_was_given_up_is_none(
    double: type[vllm_double.LLM], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = vllm_double.CompletionOutput(0, "", [1], "abort")
    monkeypatch.setattr(double, "_continued", lambda *_: given_up)
    with pytest.raises(
        UserError, match=r"vLLM gave up a response \(abort\); run the command again"
    ):
        by_vllm(folder, ["Hi"], GREEDY)
