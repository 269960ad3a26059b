"""Commands by processes that a launcher has started: the results of one process, said and written once."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from process_groups import launched, on_processes

from rewarddiff.cli import main

BY_PROCESS = ("second", "memory", "created", "time/", "fingerprint", "version", "sha256")
"""What differs between any two runs, or hangs on all bits of the weights."""


@pytest.fixture(scope="module")
def plan(policy_folder: Path, encoder_folder: Path, tmp_path_factory: Any) -> Path:
    """Return a recipe of every kind of training on tiny models."""
    folder = tmp_path_factory.mktemp("launched")
    rows = []
    for i in range(31):
        responses = [f"no{i}", f"yes{i}!", f"yes{i}!!!"]
        rows.append({"prompt": f"Say it {i}", "responses": responses, "scores": [0, 2.5, 9]})
    (folder / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = {"batch_size": 4, "max_steps": 3, "precision": "fp32", "lr": 1e-3}
    online = {
        "reward": {"source": "reward"}, "advantage": {"estimator": "rloo"},
        "num_generations": 2, "max_new_tokens": 5,
    }  # fmt: skip
    weighted = {"source": "difference", "negative": "abs"}
    backbone = {"backbone": str(encoder_folder), "lengths": {"max_response": 64}, "train": small}
    recipe = {
        "name": "launched",
        "model": str(policy_folder),
        "data": {
            "path": str(folder / "graded.jsonl"),
            "splits": {"train": 0.6, "dev": 0.2, "test": 0.2},
        },
        "lengths": {"max_response": 64},
        "scorers": {
            "reward": {**backbone, "kind": "reward"},
            "difference": {**backbone, "kind": "difference"},
        },
        "policies": {
            "dpo": {"train": {**small, "sharding": "fsdp"}},
            "dpo+difference": {"train": small, "coefficient": weighted},
            "lora": {"train": small, "lora": {"r": 2}},
            "kto": {"objective": "kto", "train": small},
            "rloo": {"online": online, "train": small},
        },
        "evaluation": {"sampling": {"max_new_tokens": 5, "stop": []}},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def by_one(plan: Path) -> Path:
    """Return the run of one process."""
    output = plan.with_name("one")
    assert main(["run", str(plan), f"output={output}"]) == 0
    return output


def differences(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Return where results differ by more than rounding, but for what differs between any two runs."""
    if any(name in place.rpartition(".")[2] for name in BY_PROCESS):
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        found = []
        for key in ours:
            found += differences(ours[key], theirs[key], f"{place}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        found = []
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            found += differences(*pair, f"{place}.{i}")
        return found
    if isinstance(ours, float) and isinstance(theirs, float):
        # Moments of few margins divide by small numbers.
        close = math.isclose(ours, theirs, rel_tol=2e-3, abs_tol=2e-4)
        return [] if close else [f"{place}: {ours} and {theirs}"]
    return [] if ours == theirs else [f"{place}: {ours} and {theirs}"]


def results(folder: Path, output: Path) -> Any:
    """Return the results of a run as if it lay where another one does."""
    text = (folder / "results.json").read_text()
    return json.loads(text.replace(str(folder), str(output)))


@pytest.mark.slow
def test_two_processes_have_the_results_of_one(plan: Path, by_one: Path, tmp_path: Path) -> None:
    output = tmp_path / "two"
    command = ["-m", "rewarddiff", "run", str(plan), f"output={output}"]
    (first, said), (second, said_by_other) = launched(tmp_path, command)
    assert (first, second) == (0, 0), said + said_by_other
    assert "dpo (seed 0): done" in said
    assert said_by_other == ""  # one speaks for all
    assert differences(results(output, by_one), results(by_one, by_one)) == []
    files = sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())
    expected = sorted(path.relative_to(by_one) for path in by_one.rglob("*") if path.is_file())
    # Prompts that were looked at and what was read are kept in one store.
    assert files == expected


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_killed(
    plan: Path, by_one: Path, tmp_path: Path
) -> None:
    """The second process dies in the middle of a pass, and the first with it, as by a launcher."""
    output = tmp_path / "killed"
    code = f"""
import os, signal, sys, threading, time
from pathlib import Path
from rewarddiff.cli import main
from rewarddiff.policies import reference
if os.environ["RANK"] == "1":
    read = reference._reference_pass
    def dying(*given):
        for number, value in enumerate(read(*given)):
            if number == 2:
                time.sleep(1.5)  # what is computed is written once a second
            if number == 4:
                Path("dead").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield value
    reference._reference_pass = dying
else:
    def follow():  # as a launcher ends the others
        while not Path("dead").exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=follow, daemon=True).start()
sys.exit(main(["run", {str(plan)!r}, "output={output}"]))
"""
    statuses = [status for status, _ in on_processes(tmp_path, code)]
    assert statuses[1] == -9
    assert statuses[0] in (-9, 1)  # it may see that the other one is gone before it is ended
    assert (output / "store.sqlite.1").exists()  # what the second had computed until then
    assert not (output / "results.json").exists()
    assert main(["run", str(plan), f"output={output}"]) == 0
    assert not (output / "store.sqlite.1").exists()
    assert differences(results(output, by_one), results(by_one, by_one)) == []


@pytest.mark.slow
def test_two_processes_score_the_bytes_of_one(plan: Path, by_one: Path, tmp_path: Path) -> None:
    scorer = by_one / "scorers" / "reward-0" / "model"
    rows = []
    for i in range(700):  # of three windows
        rows.append(json.dumps({"prompt": f"Say it {i}", "chosen": f"yes{i}!", "rejected": "no"}))
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(rows))
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert main(["score", str(scorer), str(data), "--output", str(one)]) == 0
    command = ["-m", "rewarddiff", "score", str(scorer), str(data), "--output", str(two)]
    for status, said in launched(tmp_path, command):
        assert status == 0, said
    assert two.read_bytes() == one.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_what_is_for_one_process_is_done_by_one(plan: Path, tmp_path: Path) -> None:
    data = str(plan.with_name("graded.jsonl"))
    (first, said), (second, said_by_other) = launched(tmp_path, ["-m", "rewarddiff", "check", data])
    assert (first, second) == (0, 0)
    assert said.startswith("check: is done by one process; 1 have nothing to do\n")
    assert said_by_other == ""


@pytest.mark.slow
def test_an_error_of_all_is_said_by_the_main_process_first(plan: Path, tmp_path: Path) -> None:
    command = ["-m", "rewarddiff", "run", str(plan), "policies.dpo.train.batch_sise=3"]
    (first, said), (second, said_by_other) = launched(tmp_path, command)
    assert (first, second) == (2, 2)
    assert said.startswith("rewarddiff: error: ")
    # Without a launcher that ends it, the other says it too, and who it is.
    assert said_by_other == said.replace("\n", " (in process 1)\n")


@pytest.mark.slow
def test_what_fails_in_another_process_is_said_once_under_a_real_launcher(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(
        """
import sys
from rewarddiff import pipeline
from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.processes import done_by_every_process, processes
def work():
    if processes().process_index == 1:
        raise UserError("the server is gone")
pipeline.run_recipe = lambda *_: done_by_every_process(work)
sys.exit(main(["demo"]))
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        command += ["--master_port", str(free.getsockname()[1])]
    done = subprocess.run(
        [*command, str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert done.stderr.count("rewarddiff: error:") == 1
    assert "rewarddiff: error: the server is gone (in process 1)" in done.stderr


@pytest.mark.slow
def test_a_trainer_may_ask_in_each_process_for_a_batch_of_its_own(
    by_one: Path, tmp_path: Path
) -> None:
    """GRPO of TRL scores another batch in every process, and not equally often."""
    code = f"""
import os
from pathlib import Path
import rewarddiff as rd
from rewarddiff.processes import processes
rank = processes().process_index
scorer = rd.load_scorer({str(by_one / "scorers" / "reward-0" / "model")!r})
for number in range(1 + 2 * rank):
    responses = ("yes!", "no")[: 1 + (number + rank) % 2]
    group = rd.Group(str(number), f"Say it {{rank}} {{number}}", responses)
    rewards = scorer.rewards([group])
    assert len(rewards) == 1 and len(rewards[0]) == len(responses)
"""
    for status, said in on_processes(tmp_path, code):
        assert status == 0, said
