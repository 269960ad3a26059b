"""A first recipe is chosen by what data holds, is in order, and runs as it is."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.config import load_recipe, read_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline import effort
from rewarddiff.pipeline import init as init_module
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.init import init_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.results import read_results

COUNT = 40


def texts(seed: int, count: int) -> list[str]:
    """Different texts, the first one the longest."""
    drawn = random.Random(seed)
    words = ["yes", "no", "perhaps", "never", "always"]
    return [
        " ".join(drawn.choices(words, k=count - place + 2)) + f" {place}" for place in range(count)
    ]


def pair(i: int) -> dict[str, Any]:
    chosen, rejected = texts(i, 2)
    return {"prompt": f"Say it {i}", "chosen": chosen, "rejected": rejected}


def graded(i: int) -> dict[str, Any]:
    return {**pair(i), "margin": 1 + i % 3}


def always_as_strong(i: int) -> dict[str, Any]:
    return {**pair(i), "margin": 1}


def partly_graded(i: int) -> dict[str, Any]:
    return graded(i) if i % 2 else pair(i)


def weighed(i: int) -> dict[str, Any]:
    """As `weigh` writes it."""
    return {**pair(i), "coefficient": 0.5 * (i % 3), "difference": i % 3 - 1, "margin": i % 2}


def scored_list(i: int) -> dict[str, Any]:
    return {"prompt": f"Say it {i}", "responses": texts(i, 4), "scores": [3, 2, 1, 1]}


def long_list(i: int) -> dict[str, Any]:
    return {"prompt": f"Say it {i}", "responses": texts(i, 12), "scores": list(range(12))}


def label(i: int) -> dict[str, Any]:
    return {"prompt": f"Say it {i}", "completion": texts(i, 1)[0], "label": bool(i % 2)}


def conversation(i: int) -> dict[str, Any]:
    chosen, rejected = texts(i, 2)
    return {
        "prompt": [{"role": "user", "content": f"Say it {i}"}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


KINDS = {
    "pairs": (pair, ["dpo", "dpo+difference", "dpo+constant"]),
    "graded": (graded, ["dpo", "dpo+difference", "dpo+constant", "dpo+grades"]),
    "alike": (always_as_strong, ["dpo", "dpo+difference", "dpo+constant"]),
    "partly": (partly_graded, ["dpo", "dpo+difference", "dpo+constant"]),
    "weighed": (weighed, ["dpo", "dpo+difference", "dpo+constant", "dpo+column"]),
    "lists": (scored_list, ["rrhf", "rrhf+difference", "rrhf+constant", "rrhf+grades"]),
    "long": (long_list, ["rrhf", "rrhf+difference", "rrhf+constant", "rrhf+grades"]),
    "labels": (label, ["kto"]),
    "conversations": (conversation, ["dpo", "dpo+difference", "dpo+constant"]),
}


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch: pytest.MonkeyPatch, encoder_folder: Path) -> None:
    monkeypatch.setattr(init_module, "BACKBONE", str(encoder_folder))


def data_of(kind: str, folder: Path, count: int = COUNT) -> Path:
    row, _ = KINDS[kind]
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(count)))
    return path


def written(kind: str, folder: Path, policy: Path) -> Path:
    recipe = folder / "recipe.yaml"
    init_stage(data_of(kind, folder), str(policy), recipe)
    return recipe


@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_follows_from_the_data(kind: str, policy_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(written(kind, tmp_path, policy_folder), [], Recipe)
    recipe.check()
    assert list(recipe.policies) == KINDS[kind][1]
    assert recipe.data.path == str(tmp_path / f"{kind}.jsonl")
    assert recipe.data.limit is None  # it is small
    assert recipe.data.max_comparisons == (40 if kind == "long" else None)
    if kind == "labels":
        assert not recipe.scorers
        assert "test" not in recipe.data.splits
    else:
        used = {source for name in recipe.policies for source in recipe.sources_of(name)}
        used.discard("column")  # the data's own
        assert used == {"difference"}  # the judge has no part in training


@pytest.mark.parametrize("kind", ["graded", "weighed", "labels"])
def test_the_recipe_runs_as_it_is(kind: str, policy_folder: Path, tmp_path: Path) -> None:
    """But for the scorers' pooling, which the tiny model has no head of its own for."""
    recipe = written(kind, tmp_path, policy_folder)
    overrides = [f"output={tmp_path / 'run'}"]
    if kind != "labels":
        overrides.append("scorers.judge.pooling=mean")
    results = read_results(run_recipe(recipe, overrides))
    assert [policy.name for policy in results.policies] == KINDS[kind][1]
    if kind == "graded":
        judged = {line.scorer for line in results.rewards if not line.used_in_training}
        assert "judge" in judged
        assert all(line.mean.known for line in results.rewards)


def test_lengths_are_those_of_the_data_in_the_models_tokens(
    policy_folder: Path, tmp_path: Path
) -> None:
    """A token a byte, and one at the end: `Say it 12` is 9, and responses are of 12 to 24."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"Say it {i}", "chosen": "y" * 99, "rejected": "n" * 20} for i in range(10, 50)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = init_stage(path, str(policy_folder), tmp_path / "recipe.yaml")
    assert "In tokens, 95 of 100 prompts have no more than 9, responses 100." in said
    lengths = read_recipe(tmp_path / "recipe.yaml")["lengths"]
    assert lengths == {"max_prompt": 32, "max_response": 128}


def test_long_texts_are_cut_to_the_models_context(policy_folder: Path, tmp_path: Path) -> None:
    """The tiny policy reads 1024 tokens, the tiny encoder 512."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": "p" * 3000 + str(i), "chosen": "y" * 3000, "rejected": "n"} for i in range(COUNT)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    init_stage(path, str(policy_folder), tmp_path / "recipe.yaml")
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert recipe["lengths"] == {"max_prompt": 512, "max_response": 512}
    assert recipe["scorers"]["reward"]["lengths"] == {"max_response": 256}
    assert "as far as the model's 1024 allow" in (tmp_path / "recipe.yaml").read_text()


def test_names_of_files_are_quoted_where_yaml_needs_it(policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my data: #1, {new}"
    folder.mkdir()
    data = data_of("pairs", folder)
    init_stage(data, str(policy_folder), tmp_path / "recipe.yaml", split=None, max_drop=0.2)
    recipe = load_recipe(tmp_path / "recipe.yaml", [], Recipe)
    assert (recipe.data.path, recipe.data.max_drop) == (str(data), 0.2)


def test_columns_under_other_names_stand_in_the_recipe(policy_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"Say it {i}", "good": f"yes {i}", "bad": "no"} for i in range(COUNT)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    init_stage(path, str(policy_folder), tmp_path / "recipe.yaml", columns=columns)
    recipe = load_recipe(tmp_path / "recipe.yaml", [], Recipe)
    assert recipe.data.columns == columns
    assert list(recipe.policies) == KINDS["pairs"][1]


def test_a_slow_machine_gets_fewer_prompts_and_comparisons(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 prompts with lists of twelve: all, or fewer, or the fewest of both."""
    data = data_of("long", tmp_path, 300)
    asked = {}
    for rate in (1e12, 3e8, 1e6):
        monkeypatch.setattr(effort, "_rate", lambda rate=rate: rate)
        recipe = tmp_path / f"{rate:g}.yaml"
        init_stage(data, str(policy_folder), recipe)
        settings = load_recipe(recipe, [], Recipe).data
        asked[rate] = (settings.limit, settings.max_comparisons)
    assert asked[1e12] == (None, 40)
    limit, comparisons = asked[3e8]
    assert limit in init_module.LIMITS
    assert comparisons == 40
    assert asked[1e6] == (50, 10)


def test_negative_coefficients_stay_so(policy_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "weighed.jsonl"
    rows = [{**weighed(i), "coefficient": 1 - i % 3} for i in range(COUNT)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    init_stage(path, str(policy_folder), tmp_path / "recipe.yaml")
    column = load_recipe(tmp_path / "recipe.yaml", [], Recipe).policies["dpo+column"].coefficient
    assert column is not None
    assert (column.source, column.negative) == ("column", "signed")


@pytest.mark.parametrize("rate", [1e6, 3e7, 2e8, 1e9])
def test_the_times_of_a_run_add_up(
    rate: float, policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "_rate", lambda: rate)
    recipe = tmp_path / "recipe.yaml"
    init_stage(data_of("long", tmp_path, 300), str(policy_folder), recipe)
    times = re.search(r"about ([\d.]+) \w+( \(.*?\)) on this machine", recipe.read_text())
    assert times is not None
    figures = re.findall(r" ([\d.]+)(?=[,)])", times[2].replace("under 1", "0"))
    assert len(figures) == 3
    assert sum(map(float, figures)) == pytest.approx(float(times[1]))


def test_no_file_is_overwritten(policy_folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "recipe.yaml"
    mine.write_text("name: mine\n")
    with pytest.raises(UserError, match="is there already; choose another with --output"):
        init_stage(data_of("pairs", tmp_path), str(policy_folder), mine)
    assert mine.read_text() == "name: mine\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([pair(i) for i in range(3)], "3 prompts are too few to hold some out"),
        ([{**label(i), "label": True} for i in range(COUNT)], "holds labels that are all the same"),
        ([{**pair(i), "margin": 0} for i in range(COUNT)], "holds ties alone"),
    ],
)
def test_what_teaches_nothing_is_refused_and_nothing_is_written(
    policy_folder: Path, tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        init_stage(path, str(policy_folder), tmp_path / "recipe.yaml")
    assert not (tmp_path / "recipe.yaml").exists()


def test_the_command_says_what_it_saw_and_what_comes_next(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "first.yaml"
    data = data_of("lists", tmp_path)
    arguments = ["init", str(data), "--model", str(policy_folder), "--output", str(recipe)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "40 prompts (plain text) with 4 responses each.",
        "240 comparisons, 40 of them ties; how much better is stated for all, in 2 degrees.",
    ]
    assert main(["run", str(recipe), "--print"]) == 0
