"""Policies behind a server are judged in a run as those trained elsewhere are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering_server import AnsweringServer, answering

from rewarddiff.cli import main
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.contestants import contestants
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.sweep import sweep_points
from rewarddiff.results import Unequal, read_results
from rewarddiff.sampling import served

SMALL = {"batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 1e-2}
KEY = "sk-canary-5e1f"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    """Says of every prompt how long it is."""
    with answering(lambda body: "so " * len(body["messages"][-1]["content"])) as server:
        yield server


def recipe(policy: Path, folder: Path, url: str) -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    pairs = [
        {"prompt": f"Say {'it ' * i}", "chosen": "yes, yes", "rejected": "no"} for i in range(40)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {
        "name": "served",
        "model": str(policy),
        "output": str(folder / "run"),
        "seed": [0, 1],
        "data": {"path": str(path), "splits": {"train": 0.6, "test": 0.4}},
        "lengths": {"max_response": 64},
        "scorers": {"length": {"kind": "length"}},
        "policies": {
            "dpo": {"train": SMALL},
            "theirs": {"served": {"url": url, "model": "org/chat"}},
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 24, "stop": []}},
    }  # fmt: skip


def test_it_is_asked_once_for_all_seeds_and_judged(
    policy_folder: Path, server: AnsweringServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(policy_folder, tmp_path, server.url)
    plan["policies"]["theirs"]["served"]["key_env"] = "THEIR_KEY"
    monkeypatch.setenv("THEIR_KEY", KEY)
    run = run_recipe(plan)
    results = read_results(run)
    assert len(server.posted) == 4
    assert {place.name for place in (run / "samples").iterdir()} == {
        "base", "theirs", "dpo-0", "dpo-1",
    }  # fmt: skip
    assert [policy.name for policy in results.policies if policy.name == "theirs"] == []
    for line in results.samples:
        assert line.responses["theirs"] == ("so " * len(line.prompt)).rstrip()
    where = f"org/chat@{server.url}"
    differences = {(line.a, line.b): line.unequal for line in results.contrasts}
    assert differences["dpo", "theirs"] == (Unequal("trained", None, where),)
    (summary,) = [line for line in results.summary.policies if line.name == "theirs"]
    assert summary.trained == where
    assert (
        f"theirs: trained elsewhere, {where}; one model for all seeds."
        in (run / "report.html").read_text()
    )
    manifest = json.loads((run / "samples/theirs/manifest.json").read_text())
    assert manifest["calls"]["calls"] == 4
    assert manifest["calls"]["completion_tokens"] == manifest["cost"]["tokens"] == 12

    for file in run.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()
    # Nothing is asked again, and no key is needed for that.
    monkeypatch.delenv("THEIR_KEY")
    run_recipe(plan)
    assert len(server.posted) == 4


def test_one_that_stopped_goes_on(
    policy_folder: Path, server: AnsweringServer, tmp_path: Path
) -> None:
    """The server fails at the third prompt, and nothing has been trained by then."""
    whole = server.rule
    server.rule = lambda body: whole(body) if len(server.posted) < 3 else (500, {"error": "full"})
    plan = recipe(policy_folder, tmp_path, server.url)
    plan["policies"]["theirs"]["served"] |= {"concurrency": 1, "attempts": 2}
    with pytest.raises(
        UserError, match=r"status 500, full \(.*pairs.jsonl:\d+\); see the server's"
    ):
        run_recipe(plan)
    assert not (tmp_path / "run/policies").exists()
    asked = len(server.posted)
    server.rule = whole
    run = run_recipe(plan)
    assert len(server.posted) - asked == 2
    # All four answers were paid, two of them before it stopped; each read 7 tokens and wrote 3.
    manifest = json.loads((run / "samples/theirs/manifest.json").read_text())
    paid = manifest["calls"]
    assert (paid["calls"], paid["kept"]) == (4, 2)
    assert (paid["prompt_tokens"], paid["completion_tokens"]) == (28, 12)
    assert manifest["cost"]["tokens"] == 12


def test_a_server_that_is_down_and_a_missing_key_end_it_before_training(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = recipe(policy_folder, tmp_path, "http://127.0.0.1:9")
    path = tmp_path / "recipe.json"
    for options, message in [
        ({"attempts": 2}, "http://127.0.0.1:9/v1: cannot be reached"),
        ({"key_env": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY is not set"),
    ]:
        plan["policies"]["theirs"]["served"] |= options
        path.write_text(json.dumps(plan))
        assert main(["run", str(path)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "run/policies").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies.theirs.coefficient={source: length}", "trained already (org/chat@http://host)"),
        ("policies.theirs.trained=some/model", "trained and served are two places; give one"),
        ("scorers.length=null", "policies.theirs.served: such a policy is only judged, and"),
        (
            "policies.dpo.served={url: 'http://else', model: org/chat}",
            "policies.theirs.served.model: org/chat is also a model at http://else, and answers are",
        ),
        ("policies.theirs.served.concurrency=0", "concurrency is 0, should be at least 1"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    policy_folder: Path, tmp_path: Path, override: str, message: str
) -> None:
    plan = recipe(policy_folder, tmp_path, "http://host")
    with pytest.raises(UserError) as refused:
        load_recipe(plan, [override], Recipe).check()
    assert message in str(refused.value)


def test_only_the_keys_that_count_are_printed_and_read_again(
    policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = recipe(policy_folder, tmp_path, "http://host")
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(plan))
    assert main(["run", str(path), "--print"]) == 0
    printed = capsys.readouterr().out
    assert "  theirs:\n    served:\n      url: http://host\n      model: org/chat\n" in printed
    (tmp_path / "again.yaml").write_text(printed)
    again = load_recipe(tmp_path / "again.yaml", [], Recipe)
    assert again.heeded == load_recipe(path, [], Recipe).heeded


def test_in_a_sweep_it_is_one_point(policy_folder: Path, tmp_path: Path) -> None:
    plan = recipe(policy_folder, tmp_path, "http://host")
    plan["policies"]["weighted"] = {"train": SMALL, "coefficient": {"source": "length"}}
    lines = sweep_points(plan, ["coefficient.alpha=1,2"])
    assert [line for line in lines if "theirs" in line] == [
        "  theirs  (trained elsewhere: org/chat@http://host)"
    ]
    lines = sweep_points(plan, ["policies.theirs.served.model=a,b"])
    assert sum("theirs" in line and "http://host" in line for line in lines) == 2


def test_a_run_gives_its_samples_of_it_and_two_servers_of_one_name_are_none(
    policy_folder: Path, server: AnsweringServer, tmp_path: Path
) -> None:
    run = run_recipe(recipe(policy_folder, tmp_path, server.url))
    theirs, other = f"{run}:theirs", "org/chat@http://127.0.0.1:9"
    (named,) = contestants([theirs])
    assert (named.name, named.model) == ("theirs", f"org/chat@{server.url}")
    asked = len(server.posted)
    drawn = judge_stage([theirs, f"{run}:base"], ["length"], output=tmp_path / "judged")
    assert read_results(drawn).judges.win_rates
    assert len(server.posted) == asked
    with pytest.raises(UserError, match=r"127.0.0.1:9: has the same name as org/chat@"):
        contestants([theirs, other])
