"""Responses of which nothing is known: scored like any, and training says that nothing is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.pipeline import eval_stage, score, train_stage

SMALL = ("max_steps=2", "batch_size=4", "precision=fp32")


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "lone.jsonl"
    rows = [{"question": f"Say {n}", "response": f"{n}!"} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pairs and ten lone responses, with a question for a prompt."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {"q": f"Say {n}", "responses": [f"{n}!", f"no {n}"], "scores": [2, 1]} for n in range(30)
    ]
    rows += [{"q": f"Cry {n}", "responses": [f"{n}!"], "scores": [1]} for n in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module", params=["reward", "difference"])
def scorer(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    encoder_folder: Path,
    pairs: Path,
) -> Path:
    """A scorer that was trained with lone responses among its data."""
    output = tmp_path_factory.mktemp("runs") / request.param
    columns = {"prompt": "q"}
    return train_stage(request.param, str(encoder_folder), pairs, output, SMALL, columns=columns)


def test_lone_responses_are_scored_and_their_scores_read_again(
    scorer: Path, lone: Path, tmp_path: Path
) -> None:
    columns = {"prompt": "question"}
    if scorer.name == "difference":  # it compares, and there is nothing to compare
        with pytest.raises(UserError, match="one response to each prompt"):
            score(scorer, lone, tmp_path / "scores.jsonl", columns=columns)
        return
    first = score(scorer, lone, tmp_path / "scores.jsonl", columns=columns).output
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert [line["question"] for line in lines] == [f"Say {n}" for n in range(30)]
    again = score(scorer, first, tmp_path / "again.jsonl", columns=columns).output
    assert again.read_text().count("\n") == 30


def test_nothing_is_measured_on_them(scorer: Path, lone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"compares no two responses"):
        eval_stage([scorer], lone, tmp_path / "eval", columns={"prompt": "question"})


@pytest.mark.parametrize("kind", ["reward", "dpo", "kto", "rrhf"])
def test_training_on_them_says_that_nothing_is_compared(
    kind: str, lone: Path, encoder_folder: Path, policy_folder: Path, tmp_path: Path
) -> None:
    model = str(encoder_folder if kind == "reward" else policy_folder)
    with pytest.raises(UserError) as error:
        train_stage(kind, model, lone, tmp_path, SMALL, columns={"prompt": "question"})
    assert "\n" not in str(error.value)
    assert "compar" in str(error.value)


def test_sft_learns_from_them(lone: Path, policy_folder: Path, tmp_path: Path) -> None:
    columns = {"prompt": "question"}
    output = train_stage("sft", str(policy_folder), lone, tmp_path / "sft", SMALL, columns=columns)
    assert (output / "model.safetensors").exists()


@pytest.mark.parametrize(
    "command",
    [
        "check {data}",
        "train reward --data {data} --model {model} --output {output}",
        "score {scorer} {data} --output {output}.jsonl",
        "weigh {data} --scorer {scorer} --output {output}.jsonl",
        "eval {scorer} {data} --output {output}",
        "designs {scorer} {data} --output {output}",
        "augment {data} --model {model} --scorer {scorer} --output {output}",
        "bestof {data} --model {model} --scorer {scorer} --gold {scorer} --output {output}",
    ],
)
def test_every_command_that_reads_data_takes_columns(
    command: str,
    scorer: Path,
    pairs: Path,
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each says of a column that is not there which is the nearest: it has looked for it."""
    names = {"scorer": scorer, "data": pairs, "model": policy_folder, "output": tmp_path / "out"}
    arguments = [part.format(**names) for part in command.split()]
    assert main([*arguments, "--columns", "prompt=qq", "--columns", "scores=scores"]) == 2
    captured = capsys.readouterr()
    message = captured.err.strip().splitlines()[-1]
    assert message.endswith("pairs.jsonl:1: no column 'qq' to read prompt from – did you mean 'q'?")
