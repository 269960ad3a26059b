"""The page on online rewards: its table is what the estimators do, its Python and commands run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from trl import GRPOConfig, RLOOConfig

import rewarddiff
from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.parser import parsed
from rewarddiff.config import load_recipe
from rewarddiff.config.elsewhere import CALLED_ONLINE
from rewarddiff.pipeline.policy_recipe import OnlineRecipe, PolicyRecipe, SemiOnlineRecipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.policies.online.estimators import AdvantageConfig, baseline_effect, estimate
from rewarddiff.rewards import ScaleConfig, TruncationConfig, penalised
from rewarddiff.scorers.length import LengthScorer

PAGE = (Path(__file__).parents[1] / "docs" / "online.md").read_text("utf-8")


TRL_PPO = {"gamma", "lam", "num_ppo_epochs", "vf_coef", "cliprange_value", "missing_eos_penalty"}
"""Names of `PPOConfig`, which TRL 1.16 has no longer, in versions that had one."""


class Line(NamedTuple):
    config: AdvantageConfig
    truncation: TruncationConfig
    effect: str
    why: str


def options(cell: str) -> dict[str, Any]:
    values = yaml.safe_load(f"{{{cell.strip('` ')}}}")
    # YAML has no tuples, and reads no quotes around `none`.
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def lines() -> list[Line]:
    table = PAGE.partition("<!-- ours -->")[2].partition("<!-- end -->")[0]
    rows = [line.strip("|").split("|") for line in table.strip().splitlines()][2:]
    read = []
    for advantages, truncation, effect, why in rows:
        config = AdvantageConfig(**options(advantages))
        read.append(
            Line(config, TruncationConfig(**options(truncation)), effect.strip(), why.strip())
        )
    return read


LINES = lines()


@pytest.mark.parametrize("line", LINES, ids=str)
def test_the_page_says_what_the_code_says(line: Line) -> None:
    effect = baseline_effect(line.config, line.truncation)
    assert (line.effect, line.why) == ("acts" if effect.acts else "cancels", effect.reason)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_the_page_says_what_happens(line: Line) -> None:
    """Two prompts of four responses, r within ±4, one of each truncated; baselines 3 and −1."""
    r = np.array([[1.0, 4.0, -2.0, 0.5], [-1.0, 2.0, 3.0, -4.0]])
    truncated = np.zeros_like(r, dtype=bool)
    truncated[:, 1] = True
    mask = torch.ones(8, 3, dtype=torch.bool)
    values = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3)
    advantages = []
    for baseline in (np.zeros((2, 1)), np.array([[3.0], [-1.0]])):
        rewards = torch.from_numpy(penalised(r - baseline, truncated, line.truncation))
        advantages.append(estimate(line.config, rewards, mask, values=values).advantages)
    change = (advantages[0] - advantages[1]).abs().max().item()
    if line.effect == "cancels":
        assert change < 1e-12
    else:
        assert change > 0.05


def test_every_estimator_and_every_reason_is_on_the_page() -> None:
    estimators = get_args(get_type_hints(AdvantageConfig)["estimator"])
    scales = get_args(get_type_hints(AdvantageConfig)["scale_rewards"])
    reasons = set()
    for estimator, scale, clip, factor in product(
        estimators, scales, (None, (-1.0, 1.0)), (None, 0.5)
    ):
        others = {"scale_rewards": scale} if estimator == "grpo" else {}
        config = AdvantageConfig(estimator, reward_clip_range=clip, **others)
        truncation = TruncationConfig(stop_properly_penalty_coef=factor)
        reasons.add(baseline_effect(config, truncation).reason)
    assert {line.config.estimator for line in LINES} == set(estimators)
    assert {line.why for line in LINES} == reasons


def test_every_mode_of_the_scale_is_on_the_page() -> None:
    table = PAGE.partition("| `mode` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(
        get_args(get_type_hints(ScaleConfig)["mode"])
    )


def names_table() -> list[list[str]]:
    table = PAGE.partition("<!-- names -->")[2].partition("<!-- end of names -->")[0]
    rows = [line.strip("|").split("|") for line in table.strip().splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names_in(cell: str) -> list[str]:
    """The keys in a cell; what follows a colon is a value."""
    return [span.partition(":")[0] for span in re.findall(r"`([^`]+)`", cell)]


def test_the_table_of_names_has_keys_that_are_here() -> None:
    online: Any = OnlineRecipe()
    policy: Any = PolicyRecipe()
    rows = names_table()
    assert len(rows) > 15
    for ours, *_ in rows:
        for key in names_in(ours):
            part = policy if key.startswith("train.") else online
            for step in key.split("."):
                assert hasattr(part, step), key
                part = getattr(part, step)


def test_the_table_of_names_has_names_of_trl() -> None:
    trl = {field.name for config in (GRPOConfig, RLOOConfig) for field in fields(config)}
    for ours, theirs, *_ in names_table():
        theirs = f"`{'`, `'.join(names_in(ours))}`" if theirs.startswith("the same") else theirs
        for name in names_in(theirs):
            assert name in trl | TRL_PPO, name


def test_names_of_peers_are_refused_with_the_keys_of_the_table() -> None:
    """A key that a peer calls otherwise is answered with the one in the same row."""
    for ours, *peers in names_table():
        keys = names_in(ours)
        for name in {name for cell in peers for name in names_in(cell)} & set(CALLED_ONLINE):
            assert CALLED_ONLINE[name] in keys, name


def yaml_block(word: str) -> Any:
    """The page's one block of YAML that holds a word."""
    (block,) = [b for b in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if word in b]
    return yaml.safe_load(block)


def test_its_recipe_can_be_run() -> None:
    load_recipe(yaml_block("estimator: gae"), [], Recipe).check()


def test_its_commands_are_ours() -> None:
    commands = re.findall(r"^rewarddiff .*", PAGE, re.MULTILINE)
    assert {shlex.split(command)[1] for command in commands} == {"baseline", "run", "serve"}
    for command in commands:
        parsed(command_line(), shlex.split(command)[1:])


def test_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Means 1 and 0: rewards −0.7, 0.2, 2, −0.5; mean |r| = 4.0/4 and mean |r_RL| = 3.4/4."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": "a", "responses": ["x", "y"], "scores": [0.5, 1.5]},
        {"prompt": "b", "responses": ["x", "y"], "scores": [-1.0, 1.0]},
    ]
    Path("baseline.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(compile(block, "docs/online.md", "exec"), {})
    printed = np.array(
        [float(number) for number in re.findall(r"-?\d+\.\d*", capsys.readouterr().out)]
    )
    np.testing.assert_allclose(printed, np.array([-0.7, 0.2, 2.0, -0.5]) * 4 / 3.4, rtol=1e-6)


def test_its_recipe_and_its_python_train_on_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = yaml_block("semi_online")
    recipe = {"name": "page", "scorers": {"my-scorer": {"kind": "length"}}, **fragment}
    policy = load_recipe(recipe, ["model=some/model", "data.path=rows.jsonl"], Recipe).policies
    calls: list[Any] = []
    monkeypatch.setattr(rewarddiff, "load_groups", lambda path: [path])
    monkeypatch.setattr(rewarddiff, "train_online", lambda *args, **options: calls.append(args))
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "SemiOnline" in b]
    exec(compile(block, "docs/online.md", "exec"), {"scorer": "scorer"})
    online = policy["semi-online"].online
    assert isinstance(online, SemiOnlineRecipe)
    # Both say the same.
    assert online.config(policy["semi-online"]) == calls[0][-1]


def test_its_python_says_what_its_recipe_says_and_trains(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config is that of the recipe above it; a step of it is taken with a tiny model."""
    policy = load_recipe(yaml_block("estimator: gae"), [], Recipe).policies["ppo"]
    assert isinstance(policy.online, OnlineRecipe)
    train_online = rewarddiff.train_online
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Say {number}"} for number in range(20)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def shortly(model: str, prompts: Any, reward: Any, config: Any, *, output: str) -> Path:
        assert config == policy.online.config(policy)  # type: ignore[union-attr]
        loop = replace(config.train, max_steps=1, batch_size=4, precision="fp32")
        short = replace(config, train=loop, max_new_tokens=4, num_generations=2)
        return train_online(policy_folder, prompts, reward, short, output=output)

    monkeypatch.setattr(rewarddiff, "train_online", shortly)
    monkeypatch.setattr(rewarddiff, "load_scorer", lambda path: LengthScorer())
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "StoredC" in b]
    exec(compile(block, "docs/online.md", "exec"), {})
    assert (tmp_path / "runs" / "ppo" / "model" / "model.safetensors").exists()
    assert (tmp_path / "runs" / "ppo" / "metrics.jsonl").exists()


def test_its_links_lead_somewhere() -> None:
    folder = Path(__file__).parents[1] / "docs"
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE):
        page, _, heading = target.partition("#")
        text = (folder / page).read_text("utf-8") if page else PAGE
        headings = [re.sub(r"[^\w -]", "", h).lower() for h in re.findall(r"^#+ (.*)", text, re.M)]
        assert not heading or heading in [h.replace(" ", "-") for h in headings]
