"""Where training from Python writes: what it never replaces, and who is kept out meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rewarddiff as rd
from rewarddiff import files
from rewarddiff.outputs import run_folder_for
from rewarddiff.pipeline import scorers
from rewarddiff.policies import policy as policies
from rewarddiff.policies.policy import LoraConfig

GROUPS = [rd.Group(f"g{i}", f"Say {i}", (f"yes {i}", "no"), scores=(1.0, 0.0)) for i in range(8)]
TRAIN = rd.TrainConfig(max_steps=1, precision="fp32", batch_size=4)


def train_policy(model: Path, output: Path, lora: LoraConfig | None = None) -> Path:
    return rd.train_policy(
        model, GROUPS, output=output, config=rd.PolicyConfig(train=TRAIN, lora=lora)
    )


def train_scorer(backbone: Path, output: Path, warm_start: Path | None = None) -> Path:
    start = None if warm_start is None else str(warm_start)
    rd.train_scorer(
        rd.ScorerConfig(backbone=str(backbone), warm_start=start, train=TRAIN),
        GROUPS,
        output=output,
    )
    return output / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before any model is loaded."""
    for loaded in (
        "rewarddiff.models.loading.load_model",
        "rewarddiff.scorers.neural.build.load_backbone",
    ):
        monkeypatch.setattr(loaded, lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.mark.parametrize("name", ["model", "model/base", f"{files.EARLIER}model", "checkpoint"])
@pytest.mark.parametrize("what", ["policy", "adapter", "scorer"])
@pytest.mark.usefixtures("untrained")
def test_the_model_that_training_starts_from_is_not_replaced(
    policy_folder: Path, tmp_path: Path, name: str, what: str
) -> None:
    model = tmp_path / "my" / name
    shutil.copytree(policy_folder, model)
    before = contents(tmp_path)
    train = {
        "policy": train_policy,
        "adapter": partial(train_policy, lora=LoraConfig()),
        "scorer": train_scorer,
    }[what]
    with pytest.raises(
        rd.UserError, match=r"training starts from it, and would replace .*; choose another output$"
    ):
        train(model, tmp_path / "my")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("by", ["link", "adapter", "warm start"])
def test_nor_what_that_model_is_made_of(
    policy_folder: Path,
    encoder_folder: Path,
    tmp_path: Path,
    by: str,
    request: pytest.FixtureRequest,
) -> None:
    model, start = tmp_path / "my" / "model", tmp_path / "start"
    train: Callable[[Path, Path], Path] = train_policy
    if by == "warm start":
        start, train = encoder_folder, partial(train_scorer, warm_start=model)
        train_scorer(encoder_folder, tmp_path / "my")
    else:
        shutil.copytree(policy_folder, model)
    if by == "link":
        start.symlink_to(model)
    if by == "adapter":
        start = train_policy(model, tmp_path / "other", LoraConfig(r=2))
    before = contents(model)
    request.getfixturevalue("untrained")
    with pytest.raises(rd.UserError, match=r"training starts from it, and would replace"):
        train(start, tmp_path / "my")
    assert contents(model) == before


def test_a_model_of_another_kind_is_not_replaced_and_one_of_the_same_is(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    scorer, policy = tmp_path / "scorer", tmp_path / "policy"
    for _ in range(2):
        train_scorer(encoder_folder, scorer)
        train_policy(policy_folder, policy)
    before = contents(scorer / "model"), contents(policy / "model")
    with pytest.raises(
        rd.UserError, match=r"model: holds a scorer, which the policy would replace; choose another"
    ):
        train_policy(policy_folder, scorer)
    with pytest.raises(
        rd.UserError, match=r"model: holds a model that is no scorer, .*; choose another"
    ):
        train_scorer(encoder_folder, policy)
    assert (contents(scorer / "model"), contents(policy / "model")) == before


@pytest.mark.usefixtures("untrained")
def test_a_second_training_in_the_same_folder_is_refused(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    with run_folder_for(tmp_path):
        with pytest.raises(rd.UserError, match="another run is writing in"):
            train_policy(policy_folder, tmp_path)
        with pytest.raises(rd.UserError, match="another run is writing in"):
            train_scorer(encoder_folder, tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(rd.UserError, match="a file is in the way"):
        train_policy(policy_folder, tmp_path / "file" / "deep")


@pytest.mark.parametrize("kind", ["policy", "scorer"])
def test_the_folder_is_held_until_the_model_is_saved(
    policy_folder: Path,
    encoder_folder: Path,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, start, room = {
        "policy": (train_policy, policy_folder, policies),
        "scorer": (train_scorer, encoder_folder, scorers),
    }[kind]
    save, held = getattr(room, f"save_{kind}"), []

    def saved(*given: Any, **options: Any) -> None:
        with (
            pytest.raises(rd.UserError, match="another run is writing in"),
            run_folder_for(tmp_path),
        ):
            pass
        held.append(True)
        save(*given, **options)

    monkeypatch.setattr(room, f"save_{kind}", saved)
    train(start, tmp_path)
    assert held == [True]


def test_why_a_scorer_has_no_temperature_is_said(
    encoder_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = rd.ScorerConfig(backbone=str(encoder_folder), train=TRAIN)
    scorer = rd.train_scorer(
        config, GROUPS, GROUPS[:2], output=tmp_path
    )  # of prompts that it is trained on
    assert scorer.temperature is None
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"{tmp_path}/model: no comparison that it was not trained on tells a temperature"
    ]
