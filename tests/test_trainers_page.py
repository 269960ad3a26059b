"""The page on other trainers: its Python and our commands run as they stand, on tiny models; options of
programs that are not here are held against names from their documentation."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewarddiff.cli import main
from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.parser import parsed
from rewarddiff.scorers.neural.build import new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.serve.protocols import PROTOCOLS

PAGE = Path(__file__).parents[1] / "docs" / "weights-for-your-trainer.md"

ON_A_CPU = "bf16=False, use_cpu=True"
"""What the page says to add to TRL's settings where there is no GPU."""

OPENRLHF = {
    "actor.model_name_or_path",
    "algo.advantage.estimator",
    "ckpt.output_dir",
    "data.apply_chat_template",
    "data.chosen_key",
    "data.dataset",
    "data.input_key",
    "data.prompt_dataset",
    "data.prompt_key",
    "data.rejected_key",
    "model.margin_loss_enable",
    "model.model_name_or_path",
    "reward.remote_url",
    "rollout.n_samples_per_prompt",
}
"""Source: OpenRLHF 0.10.2, documentation: Common options, RLHF, Non-RL training."""

VERL = {
    "reward.reward_manager.source",
    "reward.reward_manager.name",
    "reward.reward_manager.module.path",
    "+reward.reward_kwargs.",
    "reward.custom_reward_function.path",
    "reward.custom_reward_function.name",
    "+reward.custom_reward_function.reward_kwargs.",
}
"""Source: verl, docs/advance/reward_loop.rst, and its loader verl/trainer/ppo/reward.py."""

LLAMA_FACTORY = {
    "model_name_or_path",
    "stage",
    "do_train",
    "finetuning_type",
    "pref_loss",
    "dataset_dir",
    "dataset",
    "template",
    "output_dir",
}
"""Source: LLaMA-Factory, examples/train_lora/qwen3_lora_dpo.yaml and data/README.md."""


def blocks(language: str, word: str) -> list[str]:
    """Return the page's blocks of a language that hold a word."""
    code = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [block for block in code if word in block]


def block(language: str, word: str) -> str:
    (only,) = blocks(language, word)
    return str(only)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """A folder with `my/model`, `my/scorer` and preferences, in which the page's first command was
    run."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "my").mkdir()
    (folder / "my" / "model").symlink_to(policy_folder)
    scorer = new_scorer(ScorerConfig(kind="reward", backbone=str(policy_folder)), seed=1)
    scorer.trained = True
    save_scorer(scorer, folder / "my" / "scorer")
    rows = [
        {"prompt": f"Say it {i}", "chosen": f"yes {i}!", "rejected": f"no {i}"} for i in range(12)
    ]
    (folder / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command = shlex.split(block("bash", "rewarddiff weigh"))
        assert main(command[1:]) == 0
    return folder


def run(code: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    exec(code.replace("output_dir=", f"{ON_A_CPU}, output_dir="), names)
    return names


def test_the_page_says_what_a_cpu_needs() -> None:
    assert ON_A_CPU in PAGE.read_text("utf-8")


def test_no_recipe_is_long() -> None:
    for code in blocks("python", "import"):
        lines = [line for line in code.splitlines() if line.strip() and "import" not in line]
        assert len(lines) <= 10
    for command in blocks("bash", ""):
        assert len(command.splitlines()) <= 10


def test_the_weights_are_written(workplace: Path) -> None:
    rows = [json.loads(line) for line in (workplace / "weighted.jsonl").read_text().splitlines()]
    columns = {"prompt", "chosen", "rejected", "coefficient", "difference", "margin"}
    assert columns | {"chosen_score", "rejected_score"} <= rows[0].keys()
    mean = sum(row["coefficient"] for row in rows) / len(rows)
    assert mean == pytest.approx(1.0)


def test_dpo_in_trl(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(block("python", "WeightedDPOTrainer"), workplace, monkeypatch)
    assert names["trainer"].state.global_step == 9  # three epochs of twelve pairs, four at a time
    AutoModelForCausalLM.from_pretrained(workplace / "my" / "policy")


def test_reward_training_in_trl(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(block("python", "WeightedRewardTrainer"), workplace, monkeypatch)
    names["trainer"].save_model()
    AutoModelForSequenceClassification.from_pretrained(workplace / "my" / "reward")


def test_grpo_in_trl(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(block("python", "reward_function"), workplace, monkeypatch)
    assert names["trainer"].state.global_step == 2
    assert names["trainer"].reward_func_names == ["scorer"]


def test_llama_factory(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(block("python", "write_ranking"), workplace, monkeypatch)
    assert re.search(r"12 rows of \d+ pairs, \d+ left out", capsys.readouterr().out)
    recipe = yaml.safe_load(block("yaml", "pref_loss"))
    assert recipe.keys() <= LLAMA_FACTORY
    info = json.loads((workplace / recipe["dataset_dir"] / "dataset_info.json").read_text())
    assert (workplace / recipe["dataset_dir"] / info[recipe["dataset"]]["file_name"]).exists()


def test_repeated_pairs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(block("python", "resampled_rows"), workplace, monkeypatch)
    again = load_dataset("json", data_files=str(workplace / "resampled.jsonl"), split="train")
    assert isinstance(again, Dataset)
    assert len(again) == 12
    assert min(again["coefficient"]) > 0


def test_the_server_is_asked_for_as_it_stands() -> None:
    command = shlex.split(block("bash", "rewarddiff serve"))
    assert parsed(command_line(), command[1:]).port == 8000


def test_options_of_other_programs_are_theirs() -> None:
    assert "/get_reward" in [protocol.route for protocol in PROTOCOLS]
    commands = blocks("bash", "openrlhf.cli")
    assert len(commands) == 2
    for command in commands:
        options = {word.removeprefix("--") for word in shlex.split(command) if "--" in word}
        assert options - {"module"} <= OPENRLHF
    overrides = [
        word for command in blocks("bash", "verl.trainer") for word in shlex.split(command)
    ]
    keys = [word.split("=")[0] for word in overrides if "=" in word]
    assert len(keys) == 8
    for key in keys:
        assert key in VERL or key.rpartition(".")[0] + "." in VERL
    assert {"+reward.reward_kwargs.scorer"} <= set(keys)
