"""Models and samples of a finished stage, opened by their path: as they were written, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rewarddiff as rd
from rewarddiff import models
from rewarddiff.cli import main
from rewarddiff.data.outputs import Output
from rewarddiff.errors import UserError
from rewarddiff.pipeline.contestants import Contestant, _samples_of_run
from rewarddiff.pipeline.stage import Stage
from rewarddiff.sealed import require_as_written
from rewarddiff.sums import sealed_json


def flip(file: Path) -> None:
    """Change one bit in the middle of a file; its length stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x08
    file.write_bytes(content)


@pytest.fixture
def stage(tmp_path: Path, policy_folder: Path) -> Path:
    """A finished stage with a model, as a run leaves it."""
    stage = Stage(tmp_path / "policies" / "dpo-0", "policy", {"seed": 0})
    shutil.copytree(policy_folder, stage.folder / "model")
    (stage.folder / "model" / "README.md").write_text("A model.")
    stage.finish()
    return stage.folder


def test_a_model_as_it_was_written_is_opened_and_not_read_for_it_again(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has written or looked at the stage in this process has read every file."""
    monkeypatch.setattr("rewarddiff.sums.hashlib.file_digest", lambda *_: pytest.fail("read"))
    assert models.resolve(stage / "model") == stage / "model"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_bit_is_found_in_any_of_its_files(stage: Path, name: str) -> None:
    flip(stage / "model" / name)
    with pytest.raises(UserError) as caught:
        require_as_written(stage / "model")
    assert str(caught.value) == (
        f"{stage}/model: model/{name} does not hold what was written to it (its SHA-256 differs); "
        "run again what made it, or, where it was changed on purpose, give a copy that lies elsewhere"
    )


def test_a_lost_file_too(stage: Path) -> None:
    (stage / "model" / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"/model: model/tokenizer_config\.json is lost; run again"):
        models.resolve(stage / "model")


@pytest.mark.parametrize(
    "command",
    [
        ["score", "{model}", "rows.jsonl", "--output", "o.jsonl"],
        ["weigh", "rows.jsonl", "--scorer", "{model}", "--output", "o.jsonl"],
        ["eval", "{model}", "rows.jsonl", "--output", "o"],
        ["bestof", "rows.jsonl", "--model", "{whole}", "--scorer", "{model}", "--gold", "{model}"],
        ["augment", "rows.jsonl", "--model", "{whole}", "--scorer", "{model}", "--output", "o.jsonl"],
        ["baseline", "rows.jsonl", "--model", "{model}", "--scorer", "length", "--output", "o.jsonl"],
        ["judge", "{model}", "{whole}", "--judge", "length", "--data", "rows.jsonl"],
        ["serve", "{model}", "--port", "0"],
        ["train", "dpo", "--model", "{model}", "--data", "rows.jsonl", "--output", "o"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_every_command_that_a_model_is_named_to_refuses_it(
    command: list[str],
    stage: Path,
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Why {i}?", "chosen": "yes!", "rejected": "no"} for i in range(40)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flip(stage / "model" / "model.safetensors")
    places = {"model": stage / "model", "whole": policy_folder}
    assert main([argument.format(**places) for argument in command]) == 2
    error = capsys.readouterr().err
    assert f": {stage}/model: model/model.safetensors does not hold what was written" in error


def test_it_is_found_behind_a_link_and_from_within(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(stage / "model" / "model.safetensors")
    (tmp_path / "mine").symlink_to(stage / "model")
    monkeypatch.chdir(stage / "model")
    for name in (str(tmp_path / "mine"), "."):
        with pytest.raises(UserError, match="does not hold what was written to it"):
            models.resolve(name)


def test_what_its_owner_has_made_of_it_is_opened(stage: Path, tmp_path: Path) -> None:
    (stage / "model" / "README.md").write_text("A better card.")
    models.resolve(stage / "model")
    flip(stage / "model" / "model.safetensors")
    shutil.copytree(stage / "model", tmp_path / "copy")
    models.resolve(tmp_path / "copy")
    (stage / "manifest.json").unlink()
    models.resolve(stage / "model")


@pytest.mark.parametrize(
    "manifest",
    [
        "no JSON",
        '{"files": {"model/config.json": [1, "00"]}}',
        sealed_json("manifest.json", {"files": ["model/config.json"]}),
        sealed_json("manifest.json", {"files": {"modelled.txt": [1, "00"], "config.json": [1, "00"]}}),
    ],
    ids=["no JSON", "not sealed", "not ours", "of other files"],
)  # fmt: skip
def test_another_manifest_says_nothing_of_a_model(
    manifest: str, policy_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(policy_folder, tmp_path / "model")
    (tmp_path / "manifest.json").write_text(manifest)
    models.resolve(tmp_path / "model")


@pytest.mark.parametrize("kind", ["policy", "scorer", "online"])
def test_what_python_trained_is_opened_as_it_was_saved(
    kind: str, policy_folder: Path, tmp_path: Path
) -> None:
    yes_is_better = (rd.Comparison(0, 1, 1.0),)
    groups = [
        rd.Group(f"g{i}", f"Why {i}?", ("yes!", "no"), comparisons=yes_is_better) for i in range(2)
    ]
    train = rd.TrainConfig(max_steps=1, batch_size=2, precision="fp32", eval_every=None)
    if kind == "policy":
        rd.train_policy(policy_folder, groups, output=tmp_path, config=rd.PolicyConfig(train=train))
    elif kind == "scorer":
        config = rd.ScorerConfig(kind="reward", backbone=str(policy_folder), train=train)
        scorer = rd.train_scorer(config, groups, output=tmp_path)
    else:
        config = rd.OnlineConfig(num_generations=2, max_new_tokens=2, train=train)
        rd.train_online(policy_folder, groups, lengths_of, config, output=tmp_path)
    model = tmp_path / "model"
    (model / "README.md").write_text("A better card.")
    models.resolve(model)
    flip(model / "model.safetensors")
    with pytest.raises(UserError, match=r"/model: model/model\.safetensors does not hold what was"):
        models.resolve(model)
    shutil.copytree(model, tmp_path / "copy")
    models.resolve(tmp_path / "copy")
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    shutil.copytree(tmp_path, elsewhere)
    models.resolve(elsewhere / "model")
    if kind == "scorer":
        rd.save_scorer(scorer, tmp_path / "another")
        with pytest.raises(UserError, match="does not hold what was"):
            models.resolve(model)
        rd.save_scorer(scorer, model)
        models.resolve(model)


def lengths_of(groups: list[rd.Group]) -> list[list[float]]:
    """A reward: the longer response is the better one."""
    return [[float(len(response)) for response in group.responses] for group in groups]


def test_samples_of_a_run_are_judged_as_they_were_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path / "samples" / "dpo-0", "samples", {})
    file = stage.folder / "samples.json"
    file.write_text(json.dumps([{"text": "an answer"}]))
    stage.finish()
    asked: Any = SimpleNamespace(prompt="Why?", source="x:1")
    room = "rewarddiff.pipeline.contestants"
    monkeypatch.setattr(f"{room}.recipe_of", lambda run: None)
    monkeypatch.setattr(f"{room}.prepare", lambda *_, **__: None)
    monkeypatch.setattr(f"{room}.held_out", lambda run: [asked])
    policy = Contestant("run:dpo", "dpo", run=tmp_path, policy="dpo-0")
    drawn = _samples_of_run(policy, tmp_path)
    assert drawn is not None
    assert drawn.outputs == (Output("Why?", "an answer", "x:1"),)
    file.write_text(json.dumps([{"text": "my answer"}]))
    with pytest.raises(UserError, match=r"samples\.json: samples\.json does not hold what was"):
        _samples_of_run(policy, tmp_path)
