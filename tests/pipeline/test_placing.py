"""The model that `train` places in a folder: what is replaced there, and what never is."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import train_stage
from rewarddiff.pipeline.placing import IDENTITIES, check_place, place
from rewarddiff.sealed import PLACED, require_as_written
from rewarddiff.sums import sealed_json

NAMES = ("README.md", "config.json", "model.safetensors")


def train(output: Path, content: str, names: tuple[str, ...] = NAMES) -> None:
    """What `train` does, without the training: the stage's folder is made anew, and its model
    placed."""
    check_place("a model of the hub", output)
    model = output / "run" / "policies" / "dpo-0" / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir(parents=True)
    for name in names:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(content)
        os.utime(model / name, ns=(0, len(content)))  # a time of its own, as every training has
    place(model, output)


def lying_in(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("links", [True, False])
def test_the_model_of_an_earlier_training_is_replaced_and_nothing_else(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links on this disk")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "notes.txt").write_text("mine")
    train(tmp_path, "first", (*NAMES, "adapter_config.json"))
    assert lying_in(tmp_path) == {
        **dict.fromkeys([*NAMES, "adapter_config.json"], "first"),
        "notes.txt": "mine",
    }
    train(tmp_path, "second")
    train(tmp_path, "second")
    assert lying_in(tmp_path) == {**dict.fromkeys(NAMES, "second"), "notes.txt": "mine"}


def test_a_placed_model_is_opened_as_it_was_placed_and_a_copy_as_it_is(tmp_path: Path) -> None:
    output = tmp_path / "out"
    train(output, "first")
    check_place("a model of the hub", output)  # the next training begins, and is killed
    shutil.rmtree(output / "run" / "policies")
    require_as_written(output)
    train(output, "second")
    (output / "README.md").write_text("A better card.")
    require_as_written(output)
    (output / "config.json").write_text("sec0nd")
    with pytest.raises(UserError) as caught:
        require_as_written(output)
    assert str(caught.value) == (
        f"{output}: config.json does not hold what was written to it (its SHA-256 differs); "
        "run again what made it, or, where it was changed on purpose, give a copy that lies elsewhere"
    )
    shutil.copytree(output, tmp_path / "copy")
    require_as_written(tmp_path / "copy")


def test_further_chat_templates_are_placed_and_replaced(tmp_path: Path) -> None:
    """transformers writes a template by another name into a folder of its own."""
    template = "additional_chat_templates/tool_use.jinja"
    train(tmp_path, "first", (*NAMES, template))
    train(tmp_path, "second", (*NAMES, template))
    assert (tmp_path / template).read_text() == "second"
    require_as_written(tmp_path)
    train(tmp_path, "third")
    assert not (tmp_path / template).exists()
    require_as_written(tmp_path)


@pytest.mark.parametrize("named", ["../victim.txt", "/absolute", "notes.txt"])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_record_that_names_other_files_removes_none_of_them(
    tmp_path: Path, named: str, as_list: bool
) -> None:
    output, victim = tmp_path / "out", tmp_path / "victim.txt"
    (output / "run").mkdir(parents=True)
    for file in (victim, output / "notes.txt"):
        file.write_text("mine")
    name = str(victim) if named == "/absolute" else named
    status = victim.stat()
    record = [name] if as_list else {name: [status.st_size, status.st_mtime_ns]}
    sealed = sealed_json(PLACED.name, {IDENTITIES: record})  # anybody can work out its sum
    (output / PLACED).write_text(sealed)
    train(output, "first")
    assert victim.read_text() == "mine"
    assert lying_in(output) == {**dict.fromkeys(NAMES, "first"), "notes.txt": "mine"}


def test_a_model_that_no_training_put_there_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("theirs")
    with pytest.raises(
        UserError, match=r"holds a model that no training put there \(config.json\); choose another"
    ):
        train(tmp_path, "first")
    assert lying_in(tmp_path) == {"config.json": "theirs"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        "generation_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
        "merges.txt", "tokenizer.model", "spiece.model", "model.safetensors.index.json", "rewarddiff_scorer.json",
        "rewarddiff_prompts.npy", "head.safetensors", "chat_template.jinja",
    ],
)  # fmt: skip
def test_any_file_by_which_models_are_saved_is_found_before_the_training(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"no training put there \({name}\); choose another"):
        check_place("a model of the hub", tmp_path)


def test_what_trainings_save_is_found_by_its_names(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    """Every file that a scorer's and a policy's training place, but a model card, is refused by
    itself."""
    settings = ["max_steps=1", "precision=fp32", "data.limit=12", "lengths.max_response=32"]
    names = set()
    for kind, base, more in (
        ("difference", encoder_folder, []),
        ("dpo", policy_folder, ["lora.r=2"]),
    ):
        train_stage(kind, str(base), "demo", tmp_path / kind, settings + more)
        names |= {file.name for file in (tmp_path / kind).iterdir() if file.is_file()} - {
            "README.md"
        }
    assert {"head.safetensors", "adapter_config.json"} <= names
    for name in names:
        folder = tmp_path / "by itself" / name
        folder.mkdir(parents=True)
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match="choose another output"):
            check_place("a model of the hub", folder)


def test_notes_and_data_of_the_user_are_no_model(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "notes.txt",
        "data.jsonl",
        "data.json",
        "requirements.txt",
        ".gitignore",
        "recipe.yaml",
    ):
        (tmp_path / name).write_text("mine")
    check_place("a model of the hub", tmp_path)


def test_a_placed_file_that_the_user_wrote_anew_is_theirs(tmp_path: Path) -> None:
    train(tmp_path, "first")
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text("my own")
    with pytest.raises(UserError, match=r"\(config.json\)"):
        train(tmp_path, "second")
    assert lying_in(tmp_path)["config.json"] == "my own"


def test_other_files_in_the_way_stay_and_the_model_is_not_lost(tmp_path: Path) -> None:
    for name in ("README.md", "odd.txt"):
        (tmp_path / name).write_text("mine")
    train(tmp_path, "first")
    assert lying_in(tmp_path)["README.md"] == "mine"
    with pytest.raises(UserError, match=r"odd.txt: no training put this file there; move it away"):
        train(tmp_path, "second", (*NAMES, "odd.txt"))
    assert lying_in(tmp_path)["odd.txt"] == "mine"
    assert (tmp_path / "run" / "policies" / "dpo-0" / "model" / "odd.txt").read_text() == "second"


@pytest.mark.parametrize("before", ["nothing", "first"])
def test_a_killed_placing_goes_on_and_never_mixes_two_models(
    tmp_path: Path, kill: Any, before: str
) -> None:
    for n in count(1):
        output = tmp_path / str(n)
        output.mkdir()
        if before == "first":
            train(output, "first", (*NAMES, "adapter_config.json"))
        with kill(n) as killed:
            train(output, "second")
        assert len(set(lying_in(output).values())) <= 1
        train(output, "second")
        assert lying_in(output) == dict.fromkeys(NAMES, "second")
        if not killed:
            break
    assert n > 5


@pytest.mark.parametrize("linked", [False, True])
def test_a_models_own_folder_is_no_output(
    tmp_path: Path, linked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in NAMES:
        (base / name).write_text("theirs")
    output = base
    if linked:
        output = tmp_path / "link"
        output.symlink_to(base)
    assert (
        main(["train", "dpo", "--model", str(base), "--data", "demo", "--output", str(output)]) == 2
    )
    message = f"rewarddiff: error: {output}: the output is the model's own folder; choose another\n"
    assert capsys.readouterr().err == message
    assert lying_in(base) == dict.fromkeys(NAMES, "theirs")
    assert not (base / "run").exists()


def test_a_model_in_the_stage_that_is_made_anew_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "run" / "policies" / "dpo-0" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("theirs")
    with pytest.raises(
        UserError, match=r"model: .* lies in a folder that this run makes anew \(policies/dpo-0\)"
    ):
        train_stage("dpo", str(model), "demo", tmp_path)
    assert (model / "config.json").read_text() == "theirs"


def test_two_trainings_into_one_folder(encoder_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    weights = []
    for seed in (0, 1):
        settings = [
            f"seed={seed}",
            "max_steps=1",
            "precision=fp32",
            "data.limit=12",
            "lengths.max_response=32",
        ]
        train_stage("reward", str(encoder_folder), "demo", tmp_path, settings)
        require_as_written(tmp_path)
        weights.append((tmp_path / "model.safetensors").read_bytes())
        made = tmp_path / "run" / "scorers" / f"reward-{seed}" / "model"
        placed = {file.name for file in tmp_path.iterdir() if file.is_file()} - {"notes.txt"}
        assert placed == {file.name for file in made.iterdir()}
        assert (made / "model.safetensors").samefile(tmp_path / "model.safetensors")
    assert weights[0] != weights[1]
    assert (tmp_path / "notes.txt").read_text() == "mine"
