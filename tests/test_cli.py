"""The command line: exit statuses, one line for an error, help at once."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import re
import resource
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from report import report_example as example

from rewarddiff import cli
from rewarddiff.check import check
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.pipeline.scoring import score, weigh_dataset
from rewarddiff.results import LedgerCounts, Place, Tally

COMMANDS = (
    *("demo", "run", "plan", "sweep", "init", "check", "train", "augment", "baseline", "bestof"),
    *("score", "weigh", "eval", "judge", "annotate", "designs", "lab", "serve", "report"),
    *("compare", "completion", "doctor"),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A pipeline that only writes down what it is asked for."""
    pipeline = types.ModuleType("rewarddiff.pipeline")
    asked: list[tuple[Any, ...]] = []

    def stage(name: str, answer: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            asked.append((name, *arguments, *([options] if options else [])))
            return answer

        return run

    for name in ("run_recipe", "sweep_recipe", "train_stage", "report_stage"):
        setattr(pipeline, name, stage(name, Path("runs/x")))
    summary = types.SimpleNamespace(output=Path("out"), lines=lambda: ["rows  3"])
    pipeline.score = stage("score", summary)  # type: ignore[attr-defined]
    dropped = {"empty_response": Tally(1, (Place("d.jsonl:7", "", ""),))}
    evaluated = example.results()
    data = dataclasses.replace(evaluated.data, ledger=LedgerCounts(13, 12, dropped, {}))
    found = dataclasses.replace(evaluated, command="eval", data=data)
    pipeline.eval_stage = stage("eval_stage", found)  # type: ignore[attr-defined]
    pipeline.sweep_points = stage("sweep_points", ["one", "two"])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rewarddiff.pipeline", pipeline)
    return asked


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A pipeline in which running a recipe raises `error`."""
    pipeline = types.ModuleType("rewarddiff.pipeline")

    def run_recipe(*_: object) -> None:
        raise error

    pipeline.run_recipe = run_recipe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rewarddiff.pipeline", pipeline)


def status(*argv: str) -> int:
    """Run a command in this process; argparse leaves by SystemExit."""
    try:
        return cli.main(argv)
    except SystemExit as leaving:
        return int(leaving.code or 0)


def shell(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rewarddiff.cli", *argv], capture_output=True, text=True, timeout=60
    )


# --- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["run", "--help"]])
def test_help_takes_less_than_a_second(argv: list[str]) -> None:
    times = []
    for _ in range(3):  # the best of three: other work on the machine is not ours to measure
        start = time.perf_counter()
        assert shell(*argv).returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rewarddiff import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'matplotlib', 'numpy', 'pyarrow', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr == "[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert status(command, "--help") == 0
    help_text, example, line = capsys.readouterr().out.partition("example:\n")
    assert example
    assert line.startswith(f"  rewarddiff {command}")
    assert max(map(len, help_text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "handler"), [("check", check), ("score", score), ("weigh", weigh_dataset)]
)
def test_help_says_the_default_that_there_is(
    command: str, handler: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(command, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    default = inspect.signature(handler).parameters["max_drop"].default
    assert re.findall(r"--max-drop SHARE [^(]*\(default ([\d.]+)", text) == [f"{default:g}"]


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert status() == 0
    shown = capsys.readouterr()
    assert "run the whole pipeline on the embedded data" in shown.out
    assert shown.err == ""


# --- arguments ------------------------------------------------------------------------------------------------------


def test_run_passes_recipe_and_overrides_on(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("run", "r.yaml", "seed=1", "data.path=x.jsonl") == 0
    assert calls == [("run_recipe", Path("r.yaml"), ["seed=1", "data.path=x.jsonl"])]
    assert capsys.readouterr().out == "results  runs/x/results.json\nreport   runs/x/report.html\n"


def test_sweep_passes_values_on_or_prints_its_points(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("sweep", "r.yaml", "seed=0..4", "coefficient.alpha=0,1") == 0
    assert capsys.readouterr().out == "results  runs/x/sweep.json\nreport   runs/x/sweep.html\n"
    assert status("sweep", "r.yaml", "seed=0..4", "--print") == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    asked = ["seed=0..4", "coefficient.alpha=0,1"]
    assert calls == [
        ("sweep_recipe", Path("r.yaml"), asked),
        ("sweep_points", Path("r.yaml"), asked[:1]),
    ]


def test_demo_runs_the_recipe_of_the_package(calls: list[Any]) -> None:
    assert status("demo", "seed=2", "--output", "a: b") == 0
    [(name, recipe, overrides)] = calls
    assert (name, recipe.parts[-3:]) == ("run_recipe", ("rewarddiff", "demo", "recipe.yaml"))
    assert overrides == ['output="a: b"', "seed=2"]


def test_overrides_may_stand_between_options(calls: list[Any]) -> None:
    assert (
        status("train", "dpo", "lr=1", "--data", "d.jsonl", "beta=-2", "--output", "o", "seed=3")
        == 0
    )
    assert calls == [
        (
            "train_stage",
            "dpo",
            "smollm2-135m-instruct",
            "d.jsonl",
            Path("o"),
            ["lr=1", "beta=-2", "seed=3"],
        )
    ]


def test_training_has_defaults_for_the_model_and_the_place(calls: list[Any]) -> None:
    assert status("train", "reward", "--data", "demo") == 0
    assert calls == [("train_stage", "reward", "all-minilm-l6-v2", "demo", Path("runs/reward"), [])]


@pytest.mark.parametrize(
    ("kind", "following"),
    [
        ("reward", "rewarddiff weigh DATA --scorer runs/x --output weighted.jsonl"),
        ("dpo", "rewarddiff judge runs/x 'my model' --data PROMPTS --judge JUDGE"),
    ],
)
def test_training_ends_with_what_is_done_next(
    kind: str, following: str, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("train", kind, "--data", "demo", "--model", "my model") == 0
    assert capsys.readouterr().out.splitlines() == [
        "model   runs/x",
        "report  runs/x/run/report.html",
        f"next    {following}",
    ]


def test_score_and_report(calls: list[Any]) -> None:
    assert status("score", "s", "d.jsonl", "e.csv", "--split", "test") == 0
    assert status("report", "runs/x") == 0
    options = {"processes": 1, "options": [], "split": "test"}
    assert calls == [
        ("score", "s", ["d.jsonl", "e.csv"], None, options),
        ("report_stage", Path("runs/x")),
    ]


def test_eval_prints_the_tables_that_a_run_prints(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("eval", "s", "d.jsonl", "--output", "e") == 0
    assert calls == [("eval_stage", ["s"], "d.jsonl", Path("e"), {"options": []})]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["13", "rows:", "12", "kept,", "1", "dropped"],
        ["dropped", "1", "empty_response", "first:", "d.jsonl:7"],
    ]
    titles = ["Scorers on held-out comparisons", "Accuracy by length"]
    assert [line for line in lines if line in titles] == titles
    assert lines[-2:] == ["results  e/results.json", "report   e/report.html"]


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        ("a/d.jsonl.gz", "eval-d"),
        ("d.train.jsonl", "eval-d.train"),
        ("org/name", "eval-name"),
        (".", "eval-data"),
    ],
)
def test_eval_keeps_its_figures_unasked(calls: list[Any], data: str, folder: str) -> None:
    assert status("eval", "s", data) == 0
    assert calls == [("eval_stage", ["s"], data, Path("runs") / folder, {"options": []})]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["chek", "d"],
            "argument COMMAND: there is no 'chek' – did you mean 'check'? (see rewarddiff --help)",
        ),
        (
            ["train", "rewrd", "--data", "d"],
            "argument KIND: there is no 'rewrd' – did you mean 'reward'? (see rewarddiff train --help)",
        ),
        (
            ["train", "dpo", "--data", "d", "--lr", "1e-5"],
            "unknown argument '--lr': keys are written without dashes, as lr=VALUE (see rewarddiff train --help)",
        ),
        (
            ["eval", "d.jsonl"],
            "give at least one SCORER, and then DATA (see rewarddiff eval --help)",
        ),
        (
            ["train", "dpo"],
            "the following arguments are required: --data (see rewarddiff train --help)",
        ),
        (
            ["run", "r.yaml", "--prnt"],
            "unknown argument '--prnt' – did you mean --print? (see rewarddiff run --help)",
        ),
        (
            ["run", "r.yaml", "seed"],
            "unknown argument 'seed': expected key=value (see rewarddiff run --help)",
        ),
        (["check", "a", "b"], "unknown argument 'b' (see rewarddiff check --help)"),
        (
            ["check", "a", "--max-drop", "5"],
            "argument --max-drop: 5 is no share, should be a number between 0 and 1 (see rewarddiff check --help)",
        ),
        (
            ["designs", "run", "--budget", "x"],
            "argument --budget: x should be a whole number of at least 1 (see rewarddiff designs --help)",
        ),
        (["run"], "the following arguments are required: RECIPE (see rewarddiff run --help)"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 2
    assert capsys.readouterr().err == f"rewarddiff: error: {message}\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "none.yaml"], "none.yaml: cannot read the recipe (No such file or directory)"),
        (["run", "r.yaml"], "none.jsonl: no such file or folder; check the path"),
        (
            ["sweep", "r.yaml", "data.path=other.csv"],
            "other.csv: no such file or folder; check the path",
        ),
        (["check", "none.jsonl"], "none.jsonl: no such file or folder; check the path"),
        (["eval", "./s", "none.jsonl"], "none.jsonl: no such file or folder; check the path"),
        (
            ["train", "dpo", "--data", "none.jsonl"],
            "none.jsonl: no such file or folder; check the path",
        ),
        (["designs", "./s", "demo"], "s: no such folder"),
        (["run", "m.yaml"], "model: none/model: no such folder"),
        (
            ["run", "m.yaml", "model=./another"],
            "scorers.reward.trained: none/scorer: no such folder",
        ),
        (
            ["run", "m.yaml", "model=./another", "scorers.reward=null", "data.path=x.csv"],
            "x.csv: no such file",
        ),
    ],
)
def test_what_is_not_there_is_missed_before_anything_heavy_is_imported(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("name: r\ndata: {path: none.jsonl}\n")
    Path("m.yaml").write_text(
        "name: m\nmodel: ./none/model\nscorers: {reward: {trained: ./none/scorer}}\n"
    )
    for name in (
        "torch",
        "rewarddiff.pipeline",
    ):  # as in a process of its own, where neither is there yet
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert status(*argv) == 2
    assert message in capsys.readouterr().err
    assert {"torch", "rewarddiff.pipeline"}.isdisjoint(sys.modules)


# --- exit statuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("d.jsonl:3: no `chosen`;\n add it"), 2, "error: d.jsonl:3: no `chosen`; add it"),
        (
            TrainingError("the loss is not finite at step 3"),
            1,
            "error: stopped: the loss is not finite at step 3",
        ),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again to continue"),
    ],
)
def test_failures_are_one_line(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    assert status("run", "r.yaml") == code
    assert capsys.readouterr().err == f"rewarddiff: {message}\n"


def test_a_termination_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    pipeline = types.ModuleType("rewarddiff.pipeline")
    pipeline.run_recipe = lambda *_: signal.raise_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rewarddiff.pipeline", pipeline)
    assert status("run", "r.yaml") == 130
    assert capsys.readouterr().err.startswith("rewarddiff: interrupted: run the same command")
    assert signal.getsignal(signal.SIGTERM) is before


def test_anything_else_keeps_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(monkeypatch, ZeroDivisionError("by design"))
    assert status("run", "r.yaml") == 1
    [file] = tmp_path.iterdir()
    assert (
        capsys.readouterr().err
        == f"rewarddiff: error: ZeroDivisionError: by design (traceback in {file})\n"
    )
    assert "in run_recipe" in file.read_text()


def test_a_traceback_that_the_usual_folder_does_not_take_is_kept_elsewhere_or_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failing(monkeypatch, ZeroDivisionError("by design"))
    (tmp_path / "gone").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("rewarddiff.cli.failing.TRACEBACKS", (None, str(tmp_path / "gone"), "."))
    assert status("run", "r.yaml") == 1
    [file] = (tmp_path / "here").iterdir()
    assert (
        capsys.readouterr().err
        == f"rewarddiff: error: ZeroDivisionError: by design (traceback in {file})\n"
    )
    assert "in run_recipe" in file.read_text()
    file.unlink()

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (0, limits[1])
    )  # no file takes a byte, as on a full disk
    try:
        code = status("run", "r.yaml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    reason = "its traceback could not be kept: No such file or directory; --debug shows it"
    assert (
        capsys.readouterr().err == f"rewarddiff: error: ZeroDivisionError: by design ({reason})\n"
    )
    assert not list((tmp_path / "here").iterdir())


def test_a_full_disk_behind_the_terminal(tmp_path: Path) -> None:
    """/dev/full takes nothing, as a file on a full disk."""
    data = rows(tmp_path / "d.jsonl", {"prompt": "p", "chosen": "a", "rejected": "b"})
    command = [sys.executable, "-m", "rewarddiff.cli", "check"]
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [*command, data], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
        mute = subprocess.run(
            [*command, "nowhere.jsonl"], stdout=subprocess.PIPE, stderr=full, timeout=60
        )
    message = "standard output: cannot be written (its disk is full); free some space"
    assert (run.returncode, run.stderr) == (2, f"rewarddiff: error: {message}\n")
    assert mute.returncode == 2


@pytest.mark.parametrize("argv", [["--debug", "run", "r.yaml"], ["run", "r.yaml", "--debug"]])
def test_debug_shows_the_traceback(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, UserError("wrong"))
    assert status(*argv) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("rewarddiff: error: wrong\n")


# --- the commands that need no pipeline -----------------------------------------------------------------------------


def rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_check_prints_the_ledger_and_the_strengths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Scores 0, 1, 3 give three comparisons of strength 1, 2, 3: median and mean 2. The better
    # response is the longer one in (1 over 0) and (3 over 0) but not in (3 over 1): 2 of 3.
    data = rows(
        tmp_path / "d.jsonl", {"prompt": "p", "responses": ["a", "aaaa", "aa"], "scores": [0, 1, 3]}
    )
    assert status("check", str(data)) == 0
    shown = capsys.readouterr().out
    assert "1 row: 1 kept, 0 dropped" in shown
    assert [line.split()[1:] for line in shown.splitlines() if line.startswith("all")] == [
        ["1", "3", "3", "0", "3", "2", "2", "66.7%"]
    ]


def test_check_fails_when_too_much_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    data = rows(tmp_path / "d.jsonl", good, {"prompt": "q", "chosen": "", "rejected": "b"})
    assert status("check", str(data), "--max-drop", "0.5") == 0
    capsys.readouterr()
    assert status("check", str(data)) == 2
    shown = capsys.readouterr()
    assert "2 rows: 1 kept, 1 dropped" in shown.out
    assert shown.err.count("\n") == 1
    assert "d.jsonl:2" in shown.err


def test_check_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", str(tmp_path / "none.jsonl")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_doctor_describes_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("doctor") == 0
    found = capsys.readouterr().out
    for name in ("python", "torch", "memory", "cache", "model", "gpu", "vllm", "matmul"):
        assert f"\n{name} " in f"\n{found}"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["check", "d.jsonl", "--max-prompt", "5"],
            "count tokens: name the tokenizer's model with --model",
        ),
        (["check", ""], "no data is named; give a file"),
        (["run", "r.yaml", "--print"], "policies need a model; set model="),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    Path("r.yaml").write_text("name: r\npolicies: {dpo: {objective: dpo}}\n")
    assert status(*argv) == 2
    assert message in capsys.readouterr().err


# --- texts that act on a terminal -----------------------------------------------------------------------------------

HOSTILE = "\x1b[31mred\x07\x9b2J\u202edesrever\u2066[/][red]"
SHOWN = r"\x1b[31mred\x07\x9b2J\u202edesrever\u2066[/][red]"


def hostile_row(**more: Any) -> dict[str, Any]:
    return {"prompt": f"p {HOSTILE}", "chosen": "yes", "rejected": "no", **more}


@pytest.mark.parametrize(
    ("row", "argv"),
    [
        (hostile_row(id=HOSTILE, rejected="yes"), ["check", "DATA", "--max-drop", "1"]),
        (hostile_row(**{"chosen": 3}), ["check", "DATA"]),
        ({HOSTILE: "a", "other": "b"}, ["check", "DATA"]),
        (hostile_row(), ["check", f"missing {HOSTILE}"]),
        (hostile_row(), ["check", "DATA", f"--format={HOSTILE}"]),
        (hostile_row(), ["check", "DATA", "--max-drop", HOSTILE]),
        (hostile_row(), ["run", "RECIPE", f"data.{HOSTILE}=1"]),
        (hostile_row(), ["run", "RECIPE", f"seed={HOSTILE}"]),
        (hostile_row(), ["run", "RECIPE", f"--{HOSTILE}"]),
        (hostile_row(), ["run", "RECIPE", "--debug", f"seed={HOSTILE}"]),
        (hostile_row(), ["run", HOSTILE]),
        (hostile_row(), ["run", "RECIPE"]),
        (hostile_row(), ["report", HOSTILE]),
        (hostile_row(), ["score", HOSTILE, "DATA"]),
        (hostile_row(), ["train", HOSTILE, "--data", "DATA"]),
    ],
)
def test_nothing_of_the_users_acts_on_the_terminal(
    row: dict[str, Any],
    argv: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = HOSTILE.replace("/", "")
    Path(folder).mkdir()
    good = [{"prompt": f"q {i}", "chosen": "yes", "rejected": "no"} for i in range(40)]
    data = rows(Path(folder) / f"{folder}.jsonl", row, *good)
    Path("r.yaml").write_text(
        json.dumps({"name": "r", "data": {"path": str(data)}, "output": f"{folder}/run"})
    )
    status(
        *(str(data) if text == "DATA" else "r.yaml" if text == "RECIPE" else text for text in argv)
    )
    shown = "".join(capsys.readouterr())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert SHOWN in shown or SHOWN.replace("/", "") in shown


def test_logged_messages_are_printable_too(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()  # pytest has put its own there, which would keep the command's away
    try:
        assert status("report", "runs/x") == 0
        logging.getLogger("rewarddiff").warning("%s", HOSTILE)
    finally:
        root.handlers[:] = before
    assert capsys.readouterr().err == f"{SHOWN}\n"


def test_a_name_that_no_file_can_have_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    scorer = f"{{kind: difference, warm_start: {'a' * 300}}}"
    recipe.write_text(f"name: x\nscorers: {{s: {scorer}}}\n")
    assert cli.main(["run", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rewarddiff: error: aaa")
    assert "longer than any file's name" in error
