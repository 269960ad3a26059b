"""Training a policy on its own samples from Python: with functions, and with scorers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import rewarddiff as rd
from rewarddiff.scorers.neural.build import new_scorer

PROMPTS = [
    rd.Group(f"g{i}", f"Say {i}", (" good", " bad"), source=f"said.jsonl:{i + 1}") for i in range(4)
]
LOOP = rd.TrainConfig(precision="fp32", lr=1e-3, max_steps=2, batch_size=2)


def options(**more: object) -> rd.OnlineConfig:
    settings = {"num_generations": 2, "max_new_tokens": 4, "train": LOOP, **more}
    return rd.OnlineConfig(**settings)  # type: ignore[arg-type]


def lengths(groups: Sequence[rd.Group]) -> list[list[float]]:
    return [[-float(len(response)) for response in group.responses] for group in groups]


def test_a_function_of_groups_is_enough(
    policy_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turns = rd.Group("turns", (rd.Message("user", "Say 5"),), ())
    folder = rd.train_online(policy_folder, [*PROMPTS, turns], lengths, options(), output=tmp_path)
    assert caplog.text.count("The prompts of 4 rows are texts and were read as they stand") == 1
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size > 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    peers = {"objective/kl", "objective/scores", "policy/clipfrac_avg", "completions/mean_length"}
    assert peers <= set(lines[0])
    assert not (tmp_path / "checkpoint").exists()
    card = (folder / "README.md").read_text()
    assert "objective online-gae." in card
    assert "- online-gae\n" in card  # one tag
    assert "- samples: 2 to each prompt, at temperature 1, of at most 4 tokens\n" in card
    assert "- reward: score, by lengths\n- KL: coefficient 0.05 in the reward\n" in card


@pytest.mark.parametrize("kind", ["score", "contrastive", "group_difference"])
def test_a_reward_model_scores_the_samples(kind: str, policy_folder: Path, tmp_path: Path) -> None:
    scorer = new_scorer(rd.ScorerConfig(kind="reward", backbone=str(policy_folder)), seed=0)
    config = options(reward=rd.RewardConfig(kind))  # type: ignore[arg-type]
    folder = rd.train_online(policy_folder, PROMPTS, scorer, config, output=tmp_path)
    assert (folder / "model.safetensors").exists()


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("kind", ["contrastive_difference", "group_difference"])
def test_a_difference_model_teaches_although_it_scores_no_response_alone(
    kind: str, policy_folder: Path, tmp_path: Path
) -> None:
    scorer = new_scorer(rd.ScorerConfig(kind="difference", backbone=str(policy_folder)), seed=0)
    config = options(
        reward=rd.RewardConfig(kind),  # type: ignore[arg-type]
        advantage=rd.AdvantageConfig("rloo"),
        lora=rd.LoraConfig(r=2),
    )
    folder = rd.train_online(policy_folder, PROMPTS, scorer, config, output=tmp_path)
    assert (folder / "adapter_model.safetensors").exists()
    stored = "- stored responses: those of the data\n" in (folder / "README.md").read_text()
    assert stored == (kind == "contrastive_difference")
    with pytest.raises(rd.UserError, match="scores no response by itself"):
        rd.train_online(policy_folder, PROMPTS, scorer, options(), output=tmp_path / "r")


def test_a_finished_output_is_said_to_be_replaced_and_leaves_no_value_head_of_another_policy(
    policy_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = tmp_path / "value_head.safetensors"
    config = options(save_value_head=True)
    rd.train_online(policy_folder, PROMPTS, lengths, config, output=tmp_path)
    assert head.exists()
    assert "replaced" not in caplog.text
    # It is what the next training starts from.
    config = options(value_head=str(head))
    rd.train_online(policy_folder, PROMPTS, lengths, config, output=tmp_path)
    assert head.exists()
    assert "model: holds a model already, which will be replaced" in caplog.text
    config = options(advantage=rd.AdvantageConfig("reinforce"))
    rd.train_online(policy_folder, PROMPTS, lengths, config, output=tmp_path)
    assert not head.exists()


def test_a_cancelling_baseline_is_refused_before_anything_is_sampled(
    policy_folder: Path, tmp_path: Path
) -> None:
    config = options(reward=rd.RewardConfig("contrastive"), advantage=rd.AdvantageConfig("grpo"))
    with pytest.raises(rd.UserError, match="contrastive changes nothing with estimator grpo"):
        rd.train_online(policy_folder, PROMPTS, lengths, config, output=tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_pairs_of_samples_are_weighed_by_a_scorer_of_either_kind(
    policy_folder: Path, tmp_path: Path
) -> None:
    config = rd.SemiOnlineConfig(
        coefficient=rd.CoefficientConfig(alpha=0.5),
        steps_per_generation=1,
        num_generations=2,
        max_new_tokens=4,
        train=LOOP,
    )
    for kind in ("reward", "difference"):
        scorer = new_scorer(rd.ScorerConfig(kind=kind, backbone=str(policy_folder)), seed=0)
        output = tmp_path / kind
        folder = rd.train_online(policy_folder, PROMPTS, scorer, config, output=output)
        assert (folder / "model.safetensors").exists()
        assert "objective semi-online-dpo." in (folder / "README.md").read_text()
        first, *_ = [json.loads(line) for line in (output / "metrics.jsonl").open()]
        assert first["objective/pairs"] > 0
        assert first["objective/coefficient"] != 1
