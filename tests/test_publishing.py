"""A trained model put on the hub: a local stand-in takes what the hub's own client sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub, hub
from huggingface_hub import constants

from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.models.cards import MARK
from rewarddiff.models.publishing import publish, require_hub


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub at which one is logged in."""
    with hub() as state:
        monkeypatch.setattr(constants, "ENDPOINT", state.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield state


def model_folder(folder: Path) -> Path:
    """A model's files, and what else may lie beside them."""
    (folder / "run").mkdir(parents=True)
    for name in (
        "config.json", "model.safetensors", "tokenizer.json", "README.md", "notes.json", "secret.txt", ".env",
        "preferences.jsonl", "optimizer.pt", "run/results.json",
    ):  # fmt: skip
        (folder / name).write_text(f"of {name}")
    return folder


def test_the_models_files_are_put_there_and_nothing_else(there, tmp_path) -> None:
    folder = model_folder(tmp_path / "out")
    assert publish(folder, "me/reward", private=True) == f"{there.url}/me/reward"
    assert there.created == {"me/reward": True}
    names = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert there.files == {name: f"of {name}".encode() for name in names}


def test_training_and_pushing_is_one_command(there, pairs, policy_folder, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    status = main(
        ["train", "reward", "--model", str(policy_folder), "--data", str(pairs), "--output", str(output),
         "--push-to-hub", "me/reward", "max_steps=1", "batch_size=4", "precision=fp32"]
    )  # fmt: skip
    assert status == 0
    assert capsys.readouterr().out.endswith(f"on the hub  {there.url}/me/reward\n")
    assert there.created == {"me/reward": False}
    placed = json.loads((output / "run" / "placed.json").read_text())["files"]
    assert set(there.files) == set(placed) >= {"config.json", "model.safetensors", "README.md"}
    for name, content in there.files.items():
        assert content == (output / name).read_bytes()
    card = there.files["README.md"].decode()
    assert MARK in card
    assert re.search(r"Data: pairs, \d\d prompts, \d\d comparisons\.", card)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {i}. ", "chosen": "yes", "rejected": "no"} for i in range(40)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not a name!", "no name for the hub; give one as you/model"),
        ("a/b/c", "no name for the hub; give one as you/model"),
    ],
)
def test_names_are_looked_at_before_a_training(there, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        require_hub(name)


def test_a_login_is_asked_for_before_a_training(there, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"me/x: nobody is logged in to the hub; run hf auth login"):
        require_hub("me/x")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        UserError, match=r"status 401\); run hf auth login with a token that may"
    ) as e:
        require_hub("me/x")
    assert "hf_wrong" not in str(e.value)


def test_what_the_hub_refuses_is_one_line(there, tmp_path) -> None:
    folder = model_folder(tmp_path / "out")
    there.refuses = 403
    with pytest.raises(
        UserError, match=r"me/x: the hub refuses it \(status 403\); run hf auth"
    ) as e:
        publish(folder, "me/x")
    assert "\n" not in str(e.value)
    assert not there.files


def test_no_hub(there, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="me/x: the hub cannot be reached"):
        require_hub("me/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="since HF_HUB_OFFLINE is set"):
        require_hub("me/x")


def test_private_alone_says_what_it_is_for(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "reward", "--data", "demo", "--private"])
    assert "--private is for --push-to-hub NAME" in capsys.readouterr().err
