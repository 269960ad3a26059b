"""A recipe whose scorer fails in the middle of online training ends with a reason, and goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import Answering, QuietServer

from rewarddiff.cli import main
from rewarddiff.scorers.remote import connection

FINGERPRINT = "f" * 32
TEACHER = "org/reward"


class Teacher:
    """A reward model behind HTTP, in the protocol of `rewarddiff serve`.

    Attributes:
        lives: requests after which its server is closed, in the middle of the next; None: never.
        value: what its first reward is from the `at`-th request on; None: its own.
    """

    def __init__(self) -> None:
        self.lives: int | None = None
        self.at = 0
        self.value: float | None = None
        self.asked = 0

    def scores(self, rows: list[dict[str, Any]]) -> list[list[float]]:
        scores = [[len(r.encode()) % 7 / 7 for r in row["responses"]] for row in rows]
        if self.value is not None and self.asked >= self.at:
            scores[0][0] = self.value
        return scores


@contextmanager
def serving(teacher: Teacher, port: int = 0) -> Iterator[int]:
    """Serve on loopback while the block runs, or until the teacher's lives are used up."""

    class Handler(Answering):
        def do_GET(self) -> None:
            self.send(200, {"status": "ok", "model": TEACHER, "fingerprint": FINGERPRINT})

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
            teacher.asked += 1
            if teacher.lives is not None and teacher.asked > teacher.lives:
                threading.Thread(target=server.shutdown).start()
                server.socket.close()
                self.close_connection = True  # the asker waits for an answer that does not come
                return
            content = {"scores": teacher.scores(rows), "model": TEACHER}
            self.send(200, content | {"fingerprint": FINGERPRINT})

    server = QuietServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.001)


@pytest.fixture(scope="module")
def undisturbed(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a training that nothing has stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    teacher = Teacher()
    with serving(teacher) as port:
        assert main(["run", recipe(policy_folder, folder, "whole", port)]) == 0
    assert teacher.asked == 4
    return weights(folder, "whole")


def recipe(policy: Path, folder: Path, output: str, port: int) -> str:
    """Write a recipe of four turns, in each of which the server is asked; return its path."""
    rows = [{"prompt": f"Say it {i}", "chosen": "yes", "rejected": "no."} for i in range(12)]
    data = folder / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    train = {"batch_size": 2, "max_steps": 4, "precision": "fp32", "lr": 1e-3}
    online = {
        "num_generations": 2, "max_new_tokens": 5, "reward": {"source": "server"},
        "kl": {"target_kl": 0.5, "horizon": 100},
    }  # fmt: skip
    content = {
        "name": output,
        "model": str(policy),
        "output": str(folder / output),
        "data": {"path": str(data), "splits": {"train": 1.0}},
        "scorers": {
            "server": {
                "kind": "remote", "url": f"http://127.0.0.1:{port}", "api": "rewarddiff",
                "model": TEACHER, "attempts": 2, "timeout": 5.0,
            }
        },
        "policies": {"ppo": {"train": train, "online": online}},
    }  # fmt: skip
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def weights(folder: Path, output: str) -> bytes:
    return (folder / output / "policies" / "ppo-0" / "model" / "model.safetensors").read_bytes()


def checkpoint_of(folder: Path, output: str) -> dict[str, Any]:
    state = folder / output / "policies" / "ppo-0" / "checkpoint" / "state.json"
    content: dict[str, Any] = json.loads(state.read_text())
    return content


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_ends_the_run_and_it_goes_on_to_the_bit(
    policy_folder: Path, undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = Teacher()
    dying.lives = 2
    with serving(dying) as port:
        path = recipe(policy_folder, tmp_path, "parts", port)
        assert main(["run", path]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"rewarddiff: error: http://127.0.0.1:{port}: cannot be reached")
    assert "run the same command again" in said
    # Two turns are learned and kept; no model is there that looks whole.
    assert checkpoint_of(tmp_path, "parts")["step"] == 2
    assert not (tmp_path / "parts" / "policies" / "ppo-0" / "model").exists()
    back = Teacher()
    with serving(back, port):
        assert main(["run", path]) == 0
    assert back.asked == 2
    assert weights(tmp_path, "parts") == undisturbed


@pytest.mark.slow
def test_a_reward_that_is_no_number_ends_the_run_and_it_goes_on_to_the_bit(
    policy_folder: Path, undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = Teacher()
    with serving(teacher) as port:
        path = recipe(policy_folder, tmp_path, "parts", port)
        teacher.at = 3  # a request a turn: in the third
        teacher.value = float("nan")
        assert main(["run", path]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("rewarddiff: error: ")
        assert "pairs.jsonl:" in said
        assert checkpoint_of(tmp_path, "parts")["step"] == 2
        teacher.value = None
        assert main(["run", path]) == 0
    assert weights(tmp_path, "parts") == undisturbed
