"""`engine: vllm` in a recipe and in the commands that draw: which models vLLM reads, and what stops a run early."""

from __future__ import annotations

import json
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import vllm_double
from vllm_double import LLM

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.augment import AugmentConfig, drawn_by
from rewarddiff.pipeline.baseline import BaselineConfig, draw_baseline
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.engines import engine_of
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.records import Group
from rewarddiff.results import read_results
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.options import VLLM, Transformers
from rewarddiff.sampling.vllm import VLLMEngine
from rewarddiff.store import Store

SMALL = {"batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 1e-2}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    return vllm_double.installed(monkeypatch)


def recipe(policy: Path, folder: Path, engine: Any = "vllm") -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    pairs = [{"prompt": f"Say {i}", "chosen": "yes, yes", "rejected": "no"} for i in range(20)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {
        "name": "vllm",
        "model": str(policy),
        "output": str(folder / "run"),
        "data": {"path": str(path), "splits": {"train": 0.6, "test": 0.4}},
        "lengths": {"max_response": 64},
        "scorers": {"length": {"kind": "length"}},
        "policies": {"dpo": {"train": SMALL, "lora": {"r": 2}}},
        "evaluation": {
            "prompts": 3,
            "sampling": {"max_new_tokens": 8, "stop": [], "engine": engine},
        },
    }


def test_a_run_draws_what_it_draws_by_transformers(
    policy_folder: Path, double: type[LLM], tmp_path: Path
) -> None:
    """The base model from its folder, then the policy as it was trained, its adapter worked in."""
    (tmp_path / "other").mkdir()
    by_vllm = run_recipe(recipe(policy_folder, tmp_path))
    base, dpo = double.started
    assert base.folder.samefile(policy_folder)
    assert not dpo.folder.exists()  # a merged copy
    assert dpo.beside == []  # a GPU's memory is not divided
    assert dpo.is_over
    drawn = read_results(by_vllm).samples
    by_transformers = run_recipe(recipe(policy_folder, tmp_path / "other", "transformers"))
    assert [one.responses for one in drawn] == [
        one.responses for one in read_results(by_transformers).samples
    ]
    assert len(drawn) == 3
    manifest = json.loads((by_vllm / "samples/dpo-0/manifest.json").read_text())
    assert manifest["cost"]["tokens"] > 0
    run_recipe(recipe(policy_folder, tmp_path))  # all is there
    assert len(double.started) == 2


def test_without_vllm_nothing_is_trained(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "vllm" else found(name))
    with pytest.raises(UserError, match=r"vllm is not installed; pip install 'rewarddiff\[vllm\]'"):
        run_recipe(recipe(policy_folder, tmp_path))
    assert not (tmp_path / "run/policies").exists()


def test_a_baseline_by_vllm(policy_folder: Path, double: type[LLM], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {i}"}) + "\n" for i in range(4)))
    output = tmp_path / "baseline.jsonl"
    config = load_recipe({"max_new_tokens": 6}, ["engine=vllm"], BaselineConfig)
    summary = draw_baseline(prompts, policy_folder, "length", output, config)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [len(row["responses"]) for row in rows] == [3] * 4
    assert len({text for row in rows for text in row["responses"]}) > 4
    (llm,) = double.started
    assert len(llm.asked) == 12
    assert len({params.seed for _, params in llm.asked}) == 12
    # The model has a chat template, and these prompts are texts: as said of transformers.
    assert summary.prompts == 4
    said = "The prompts of 4 rows are texts and were read as they stand"
    assert said in output.with_suffix(".html").read_text()


def test_lists_are_drawn_by_temperature_and_not_by_beams(
    policy_folder: Path, double: type[LLM], tmp_path: Path
) -> None:
    groups = [Group("0", "Say it", ()), Group("1", "And now?", ())]
    overrides = [
        "sampling.engine={name: vllm, dtype: bfloat16}",
        "draw={name: temperature, k: 2, max_new_tokens: 4}",
    ]
    with Store(tmp_path / "store.sqlite") as store:
        config = load_recipe({}, overrides, AugmentConfig)
        drawn = drawn_by(policy_folder, groups, config.draw, config.sampling, 16, store)
        assert [len(of_prompt) for of_prompt in drawn] == [2, 2]
        assert double.started[0].options["dtype"] == "bfloat16"
        beams = load_recipe({}, overrides[:1], AugmentConfig)
        with pytest.raises(UserError, match="vLLM searches no diverse beams"):
            drawn_by(policy_folder, groups, beams.draw, beams.sampling, 16, store)


def test_a_server_is_asked_whatever_reads_models_here(
    policy_folder: Path, double: type[LLM]
) -> None:
    assert isinstance(engine_of(str(policy_folder), VLLM()), VLLMEngine)
    for engine in (VLLM(), Transformers()):
        assert engine_of("m@http://localhost:1", engine).identity == "m"


@pytest.mark.parametrize("method", ["policy_gradient", "semi_online"])
@pytest.mark.parametrize("key", ["engine", "use_vllm"])
def test_samples_of_training_are_not_vllms(
    policy_folder: Path, tmp_path: Path, method: str, key: str
) -> None:
    plan = recipe(policy_folder, tmp_path)
    plan["policies"]["dpo"]["online"] = {
        "method": method,
        "reward": {"source": "length"},
        key: "vllm",
    }
    with pytest.raises(
        UserError, match=rf"policies\.dpo\.online\.{key}: .*not built; leave it out"
    ):
        load_recipe(plan, [], Recipe).check()


def test_kept_samples_of_transformers_keep_their_key() -> None:
    """By hand: what stood in the key before there was a choice of engines."""
    config = SamplingConfig(max_new_tokens=3, temperature=0.5, stop=("x",), batch_size=7, seed=2)
    assert config.settings() == {
        "max_new_tokens": 3, "temperature": 0.5, "stop": ("x",), "batch_size": None, "seed": 2,
    }  # fmt: skip
