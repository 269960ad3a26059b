"""Model cards: what they tell the hub, and lines that work as they stand, in the folder they are of."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from rewarddiff.encoding import LengthConfig
from rewarddiff.models.cards import MARK, Facts, keep
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, save_policy, start_of
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.ranking import scores

QUESTION = "What is tea?"
ANSWER = "A drink of leaves."
FACTS = Facts(
    data="helpful", counts={"prompts": 12, "comparisons": 30}, figures={"accuracy": 0.7125}
)


def saved(base: Path, folder: Path, facts: Facts | None = None, **options: Any) -> Path:
    lengths = LengthConfig(max_prompt=100, max_response=64)
    scorer = new_scorer(ScorerConfig(backbone=str(base), lengths=lengths, **options), seed=1)
    scorer.trained = True
    save_scorer(scorer, folder, facts)
    return folder


def carried_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **names: Any
) -> list[dict[str, Any]]:
    """Run every block of Python of a folder's card in that folder; return what each one defined."""
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    defined = []
    for block in blocks:
        assert len(block.splitlines()) <= 7
        space = dict(names)
        with torch.no_grad():
            exec(block, space)
        defined.append(space)
    return defined


@pytest.mark.parametrize(("base", "chat"), [("policy", True), ("policy", False), ("encoder", True)])
def test_the_lines_of_a_reward_models_card_give_its_rewards(
    policy_folder, encoder_folder, tmp_path, monkeypatch, base, chat
) -> None:
    source = tmp_path / "base"
    shutil.copytree(policy_folder if base == "policy" else encoder_folder, source)
    if not chat:
        (source / "chat_template.jinja").unlink()
    pooling = "cls" if base == "encoder" else "mean"
    folder = saved(source, tmp_path / "reward", pooling=pooling)
    prompt = (Message("user", QUESTION),) if chat and base == "policy" else QUESTION
    ((reward, _),) = scores(load_scorer(folder), [Group("1", prompt, (ANSWER, "A hat."))])
    trainer = {
        "policy": str(policy_folder),
        "prompts": Dataset.from_dict({"prompt": ["a"]}),
        "args": GRPOConfig(str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none"),
    }
    here, there, *trl = carried_out(folder, monkeypatch, **trainer)
    plain = scores(load_scorer(folder), [Group("1", QUESTION, (ANSWER, "A hat."))])[0]
    assert here["answer"].tolist() == plain.tolist()
    assert there["reward"].item() == pytest.approx(reward, rel=1e-5, abs=1e-6)
    assert bool(trl) == (chat and base == "policy")
    if trl:
        (model,) = trl[0]["trainer"].reward_funcs
        kept = load_scorer(folder).reader.model.score.weight
        assert torch.equal(model.score.weight.cpu(), kept)


@pytest.mark.parametrize(
    ("base", "options", "reason"),
    [
        ("encoder", {}, "pooling mean"),
        ("policy", {"kind": "difference"}, "a difference model compares two responses"),
        ("policy", {"aspects": {"kind": 1.0, "true": 2.0}}, "several heads"),
    ],
)
def test_a_card_says_why_other_programs_cannot_load_it(
    policy_folder, encoder_folder, tmp_path, monkeypatch, base, options, reason
) -> None:
    source = policy_folder if base == "policy" else encoder_folder
    folder = saved(source, tmp_path / "scorer", **options)
    text = (folder / "README.md").read_text()
    assert f"It loads with rewarddiff alone: {reason}" in " ".join(text.split()) or reason in text
    assert ModelCard(text).data.library_name == "rewarddiff"
    assert "vllm" not in text
    (here,) = carried_out(folder, monkeypatch)
    assert here["answer"].shape == ((1,) if "kind" in options else (2,))


@pytest.mark.parametrize("lora", [None, LoraConfig(r=2)], ids=["whole", "adapter"])
@pytest.mark.parametrize("chat", [True, False])
def test_the_lines_of_a_policys_card_load_it(
    policy_folder, tmp_path, monkeypatch, lora: LoraConfig | None, chat: bool
) -> None:
    source = tmp_path / "base"
    shutil.copytree(policy_folder, source)
    if not chat:
        (source / "chat_template.jinja").unlink()
    model, tokenizer = start_of(source, PolicyConfig(lora=lora), 0)
    facts = Facts(base=str(source), data="helpful")
    save_policy(model, tokenizer, tmp_path / "policy", lora, facts=facts, objective="dpo")
    (there,) = carried_out(tmp_path / "policy", monkeypatch)
    assert QUESTION in there["answer"]
    assert "<|assistant|>" in there["answer"] or not chat
    data = ModelCard.load(tmp_path / "policy" / "README.md").data
    assert data.library_name == ("peft" if lora else "transformers")
    assert data.pipeline_tag == "text-generation"
    assert data.tags == ["rewarddiff", "preference-learning", "dpo"]


def test_a_card_tells_what_is_known(policy_folder, tmp_path) -> None:
    scorer = new_scorer(ScorerConfig(backbone=str(policy_folder)), seed=1)
    scorer.trained, scorer.temperature = True, 1.25
    save_scorer(scorer, tmp_path / "reward", FACTS)
    text = (tmp_path / "reward" / "README.md").read_text()
    assert "Data: helpful, 12 prompts, 30 comparisons." in text
    assert "- accuracy: 0.7125\n- temperature T, fitted on the dev split: 1.25" in text
    assert "the probability that a is preferred to b" in text
    assert "and then `<eos>` once" in text
    assert str(policy_folder.parent) not in text  # no path of this machine


def test_base_and_licence_are_those_that_the_bases_card_says(policy_folder, tmp_path) -> None:
    """And they go on from model to model: a reward model of a fine-tuned one of a licensed one."""
    base = tmp_path / "base"
    shutil.copytree(policy_folder, base)
    head = "license: other\nlicense_name: tea\nlicense_link: LICENSE\nbase_model: org/tea-7b\n"
    (base / "README.md").write_text(f"---\n{head}---\n# Tea\n")
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    save_policy(model, tokenizer, tmp_path / "policy", facts=Facts(base=str(base)))
    folder = saved(tmp_path / "policy", tmp_path / "reward")
    # A server of an adapter is told the base by its name.
    adapted, tokenizer = start_of(base, PolicyConfig(lora=LoraConfig(r=2)), 0)
    save_policy(
        adapted, tokenizer, tmp_path / "adapter", LoraConfig(r=2), facts=Facts(base=str(base))
    )
    assert "vllm serve org/tea-7b --enable-lora" in (tmp_path / "adapter" / "README.md").read_text()
    for place in (tmp_path / "policy", folder):
        data = ModelCard.load(place / "README.md").data.to_dict()
        assert data["base_model"] == "org/tea-7b"
        assert data["base_model_relation"] == "finetune"
        assert (data["license"], data["license_name"]) == ("other", "tea")


@pytest.mark.parametrize("readme", ["# no head", "---\nlicense: [", "---\n- a\n---\n", "\x00", ""])
def test_a_bases_card_that_says_nothing(policy_folder, tmp_path, readme: str) -> None:
    shutil.copytree(policy_folder, tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text(readme)
    folder = saved(tmp_path / "base", tmp_path / "reward")
    data = ModelCard.load(folder / "README.md").data.to_dict()
    assert "license" not in data
    assert "base_model" not in data


def test_a_base_that_has_gone_stops_no_saving(policy_folder, tmp_path) -> None:
    shutil.copytree(policy_folder, tmp_path / "base")
    scorer = new_scorer(ScorerConfig(backbone=str(tmp_path / "base")), seed=1)
    shutil.rmtree(tmp_path / "base")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    assert "the model in a folder base" in (tmp_path / "reward" / "README.md").read_text()


def test_a_readme_of_ones_own_stays(policy_folder, tmp_path) -> None:
    """Ours is written anew; without our line in it, it is the user's."""
    folder = saved(policy_folder, tmp_path / "reward")
    first = (folder / "README.md").read_text()
    saved(policy_folder, folder, FACTS)
    second = (folder / "README.md").read_text()
    assert first != second
    assert MARK in second
    own = second.replace(MARK, "") + "\nMy notes.\n"
    (folder / "README.md").write_text(own)
    saved(policy_folder, folder)
    assert (folder / "README.md").read_text() == own
    keep(folder, tmp_path)
    assert (tmp_path / "README.md").read_text() == own
    model, tokenizer = start_of(policy_folder, PolicyConfig(), 0)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "README.md").write_bytes(b"\xff own \xfe")
    save_policy(model, tokenizer, tmp_path / "policy")
    assert (tmp_path / "policy" / "README.md").read_bytes() == b"\xff own \xfe"
