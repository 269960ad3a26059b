"""Lists from a policy and a scorer: what is joined, in which order it is written, and that RRHF
trains on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.cli import main
from rewarddiff.data import Ledger, load_groups
from rewarddiff.errors import UserError
from rewarddiff.pipeline import augment as room
from rewarddiff.pipeline.augment import AugmentConfig, augment
from rewarddiff.pipeline.commands import run_recipe, train_stage
from rewarddiff.records import Group
from rewarddiff.sampling import Sample
from rewarddiff.sampling.several import Beams, Rejection
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.ranking import scores as scores_by


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"prompt": f"Say it {i}", "chosen": f"yes{i}!!!", "rejected": f"no{i}"} for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def scorer(encoder_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    settings = ["train.max_steps=2", "train.precision=fp32", "lengths.max_response=32"]
    train_stage("reward", str(encoder_folder), data, folder, settings)
    return folder


def test_from_pairs_to_lists_to_training(
    data: Path, scorer: Path, policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "lists.jsonl"
    config = AugmentConfig(draw=Beams(max_new_tokens=6), limit=12)
    ledger = augment(data, policy_folder, scorer, output, config)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == ledger.kept == 12
    assert {len(line["responses"]) for line in lines} == {6}  # two of the data and four beams
    assert all(sorted(line["origins"]) == ["data"] * 2 + ["policy"] * 4 for line in lines)
    assert all(line["scores"] == sorted(line["scores"], reverse=True) for line in lines)
    groups = list(load_groups(output))
    own = scores_by(load_scorer(scorer), groups)
    for group, scores in zip(groups, own, strict=True):
        np.testing.assert_allclose(group.scores, scores, rtol=1e-5, atol=1e-6)

    before = output.read_bytes()
    monkeypatch.setattr(
        "rewarddiff.sampling.diverse.diverse_beams", lambda *_, **__: pytest.fail("drawn again")
    )
    augment(data, policy_folder, scorer, output, config)
    assert output.read_bytes() == before

    train = {"batch_size": 4, "max_steps": 2, "precision": "fp32", "lr": 1e-3}
    policy = {
        "objective": "rrhf",
        "train": train,
        "coefficient": {"source": "grades", "alpha": 0.5},
    }
    recipe = {
        "name": "lists", "model": str(policy_folder), "output": str(tmp_path / "run"),
        "data": {"path": str(output), "splits": {"train": 1.0}}, "policies": {"rrhf": policy},
    }  # fmt: skip
    results = json.loads((run_recipe(recipe) / "results.json").read_text())
    assert results["coefficients"][0]["report"]["n"] == 12 * 15  # every pair of six


def test_rejection_takes_what_the_scorer_likes(
    data: Path, scorer: Path, policy_folder: Path, tmp_path: Path
) -> None:
    greedy = Rejection(k=2, candidates=8, beta=1e-9, max_new_tokens=4, temperature=2.0)
    config = AugmentConfig(draw=greedy, limit=3, own=False)
    augment(data, policy_folder, scorer, tmp_path / "best.jsonl", config)
    every = AugmentConfig(draw=Rejection(**{**vars(greedy), "k": 8}), limit=3, own=False)
    augment(data, policy_folder, scorer, tmp_path / "every.jsonl", every)
    best, whole = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("best", "every")
    )
    for few, many in zip(best, whole, strict=True):
        assert few["responses"] == many["responses"][:2]
        assert len(many["responses"]) > 2


def test_joined_by_hand() -> None:
    ledger = Ledger()
    group = Group("g", "p", ("a", "b"), scores=(1.0, 2.0))
    drawn = [Sample("a ", True), Sample("c", True), Sample(" ", True), Sample("c", False)]
    joined = room._joined(group, drawn, AugmentConfig(), ledger)
    assert joined == {"a": "data", "b": "data", "c": "policy"}
    assert (ledger.count("empty_response"), ledger.count("identical_responses")) == (1, 1)
    assert room._joined(group, [Sample("c", True)], AugmentConfig(own=False), ledger) == {}
    assert ledger.count("single_response") == 1


def test_nothing_to_rank_is_said(
    data: Path, scorer: Path, policy_folder: Path, tmp_path: Path
) -> None:
    one = Beams(num_beams=1, num_beam_groups=1, num_return_sequences=1, max_new_tokens=2)
    with pytest.raises(UserError, match="single_response"):
        augment(
            data,
            policy_folder,
            scorer,
            tmp_path / "x.jsonl",
            AugmentConfig(draw=one, own=False, limit=3),
        )
    assert not (tmp_path / "x.jsonl").exists()


def test_by_the_command_line(
    data: Path,
    scorer: Path,
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "lists.jsonl"
    command = [
        "augment",
        str(data),
        "--model",
        str(policy_folder),
        "--scorer",
        str(scorer),
        "--output",
        str(output),
    ]
    assert main([*command, "draw=temperature", "draw.k=2", "draw.max_new_tokens=4", "limit=3"]) == 0
    assert len(output.read_text().splitlines()) == 3
    assert main([*command, "draw=beem"]) == 2
    assert "did you mean 'beams'" in capsys.readouterr().err
