"""SIGKILL in the middle of a run: the same command then ends as if nothing had happened.

    python tests/faults/kills.py random 100     # at random moments
    python tests/faults/kills.py process 10     # the same, of processes of their own
    python tests/faults/kills.py save           # at every file operation of a save
    python tests/faults/kills.py resume         # at every file operation of a run that goes on from a kill
    python tests/faults/kills.py rest 100       # at a hundred other file operations

Killed are runs of a reward model, a difference model, DPO, RRHF, KTO, RLOO and judged policies, tiny models, each
beginning with the finished run of what it needs. Compared with the run that nothing happened to are the SHA-256 of
every file but those that tell of the moment, of every optimizer at the end of its training, the metrics of every
step, the manifests, all values of the store and the results. No file may be left over. As a training that starts
anew ends in the same way, it is told by itself where it begins: at the step of its last checkpoint, which has to
outlive the kill.

Of a judge that is asked again: nothing that was answered and kept is asked twice, so that a kill costs no more
than the requests that were under way; and what results say it was asked holds every verdict that is kept, and no
more than the server was asked.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import compare
import going_on
import tiny
from forks import ended, forked, killed_after
from judging_examples import by_taste
from operations import WRITES, Kill, Operation, killing, watch
from scorers.chat_server import MODEL, serving
from tally import Tally

OBJECTIVES = ("dpo", "rrhf", "kto")

BEGINS_WITH = {
    "difference": "reward",
    **dict.fromkeys((*OBJECTIVES, "rloo"), "difference"),
    "judge": "dpo",
}
"""Whose finished run a run begins with; the others begin with nothing."""

AT_ONCE = 4
"""Requests to the judge that are under way together."""

KILLED = -signal.SIGKILL


# --- what is run ----------------------------------------------------------------------------------


def recipes(models: dict[str, str], judge: str, output: Path) -> dict[str, dict[str, Any]]:
    """Return the recipe of every run, by name; `judge` is an address."""
    train = tiny.TRAIN | {"epochs": 3, "max_steps": 3}
    both = tiny.scorers(models, train)
    reward = {"reward": both["reward"]}
    asked = {"kind": "judge", "url": judge, "model": MODEL, "max_tokens": 64}
    prices = {"price_in": 1e6, "price_out": 1e6}  # 1 a token
    judged = {**both, "judge": {**asked, **prices, "concurrency": AT_ONCE}}
    policies = {objective: tiny.policy(objective, train) for objective in OBJECTIVES}
    policies["rloo"] = tiny.online(train, mini_batches=1)
    runs: dict[str, Any] = {
        "reward": {"scorers": reward, "policies": {}},
        "difference": {"policies": {}},
    }
    for name, policy in policies.items():
        runs[name] = {"policies": {name: policy}}
    runs["judge"] = {"scorers": judged}
    return {name: tiny.recipe(models, output, train, **run) for name, run in runs.items()}


def make(place: Path) -> int:
    """Make the models that runs begin with: in a child, as they may start threads, which no fork has."""
    tiny.models(place)
    return 0


def quicken() -> None:
    """Leave out of forked runs what takes most of their time and no kill can show; other processes do all."""
    from rewarddiff.rendering import Renderer, _text
    from rewarddiff.report.figures import Drawing

    def texts(renderer: Any, template: str, conversations: Any, variables: Any) -> list[Any]:
        # In the process itself: another one would import transformers first.
        return [_text(template, one, variables) for one in json.loads(json.dumps(conversations))]

    Renderer._texts = texts  # type: ignore[method-assign]
    Drawing.svg = property(lambda drawing: "<svg></svg>")  # type: ignore[assignment]
    os.fsync = lambda descriptor: None
    gc.collect = lambda *generation: 0


def serve(place: Path) -> int:
    """Be a judge, which writes down every question, until killed."""

    def reply(body: Any) -> str:
        question = sha256(json.dumps(body["messages"]).encode()).hexdigest()
        with (place / "asked").open("a") as file:
            file.write(f"{question}\n")
        return by_taste(lambda text: 1 + len(text.encode()) % 5)(body)

    with serving(reply) as server:
        server.seconds = 0.02
        (place / "fresh").write_text(server.url)
        (place / "fresh").rename(place / "url")
        signal.pause()
    return 0


@contextmanager
def judge_at(place: Path) -> Iterator[str]:
    """Serve a judge from a process of its own while the block runs; gives its address."""
    server = forked(lambda: serve(place), place / "log")
    try:
        while not (place / "url").exists():
            time.sleep(0.01)
        yield (place / "url").read_text()
    finally:
        os.kill(server, signal.SIGKILL)
        ended(server)


def keep_optimizers(run: Path, file: Path) -> None:
    """Let this process write down a hash of the optimizer at the end of every training."""
    from rewarddiff.loop import checkpoint
    from rewarddiff.loop.train import _Run

    finish = _Run._finish

    def finished(training: _Run) -> None:
        tensors, scalars = checkpoint._flatten(training.optimizer.state_dict()["state"])
        hashed = sha256(json.dumps(scalars, sort_keys=True).encode())
        for name in sorted(tensors):
            hashed.update(name.encode() + tensors[name].numpy().tobytes())
        with file.open("a") as lines:
            lines.write(f"{training.output.relative_to(run)} {hashed.hexdigest()}\n")
        finish(training)

    _Run._finish = finished  # type: ignore[method-assign]


class Place:
    """A folder with recipes, finished runs, and the run that is going on, which always lies at the same path."""

    def __init__(self, folder: Path, judge: str, models: dict[str, str]) -> None:
        self.folder = folder
        self.now = folder / "now"
        self.run = self.now / "run"
        self.notes = self.now / "notes"
        self.recipes = recipes(models, judge, self.run)
        for name, recipe in self.recipes.items():
            (folder / f"{name}.json").write_text(json.dumps(recipe))  # JSON is YAML
        self.seconds: dict[str, float] = {}
        self.questions: dict[str, list[str]] = {}
        self.done: dict[str, list[Operation]] = {}
        self.is_forking = True
        self.went_on = 0

    def begin(self, start: str | None) -> None:
        """Begin with what is kept under a name; None: with nothing."""
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        if start is None:
            self.now.mkdir()
        else:
            shutil.copytree(self.folder / start, self.now)

    def keep(self, name: str) -> None:
        """Keep what is there now under a name."""
        shutil.copytree(self.now, self.folder / name)

    def asked(self) -> list[str]:
        """Return what the judge has been asked until now."""
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []

    def last_words(self) -> str:
        """Return the last line that a process of a run has written."""
        return (self.folder / "log").read_text().splitlines()[-1]

    def trainings(self, name: str) -> dict[str, int]:
        """Return the trainings of a run that nothing happens to, with the step that each begins at."""
        before = BEGINS_WITH.get(name)
        lines = going_on.notes(self.folder / name / "notes")
        earlier = len(going_on.notes(self.folder / before / "notes")) if before else 0
        return going_on.begun(lines[earlier:])

    def command(self, name: str) -> list[str]:
        return ["run", str(self.folder / f"{name}.json")]

    def started(self, name: str, prepare: Callable[[], None] = lambda: None) -> int:
        """Start a run in a forked child, which calls `prepare` first, and return its id."""

        def work() -> int:
            from rewarddiff.cli import main

            keep_optimizers(self.run, self.now / "optimizers")
            going_on.tell(self.run, self.notes)
            prepare()
            status = main(self.command(name))
            (self.folder / "modules").write_text("\n".join(sorted(sys.modules)))
            return status

        return forked(work, self.folder / "log")

    def process(self, name: str) -> int:
        """Start a run by the command itself, in a process of its own, and return its id."""
        flags = os.O_WRONLY | os.O_APPEND
        output = [
            (os.POSIX_SPAWN_OPEN, 1, str(self.folder / "log"), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        command = [sys.executable, "-m", "rewarddiff", *self.command(name)]
        return os.posix_spawn(sys.executable, command, os.environ, file_actions=output)

    def ended(self, name: str, prepare: Callable[[], None] = lambda: None) -> int:
        """Do the same, wait for it, and return its status."""
        return ended(self.started(name, prepare))

    def killed(self, name: str, kill: Kill) -> int:
        """Carry out a run that is killed at an operation, and return its status."""
        return self.ended(name, lambda: killing(self.run, kill))

    def operations(self, name: str) -> list[Operation]:
        """Carry out a run to its end, and return its operations.

        Raises:
            SystemExit: it has failed.
        """
        file = self.folder / "operations"
        file.unlink(missing_ok=True)

        def prepare() -> None:
            lines = file.open("a", buffering=1)

            def see(operation: Operation) -> None:
                lines.write(json.dumps(operation) + "\n")

            watch(self.run, see)

        if self.ended(name, prepare):
            sys.exit((self.folder / "log").read_text()[-3000:])
        return [Operation(*json.loads(line)) for line in file.read_text().splitlines()]

    def whole(self, name: str) -> list[Operation]:
        """Carry out the run that nothing happens to, and the ones it begins with; return its operations."""
        if name in self.done:
            return self.done[name]
        before = BEGINS_WITH.get(name)
        if before is not None:
            self.whole(before)
        self.begin(before)
        asked = len(self.asked())
        begun = time.monotonic()
        self.done[name] = self.operations(name)
        self.seconds[name] = time.monotonic() - begun
        self.questions[name] = self.asked()[asked:]
        self.keep(name)
        self.import_modules()
        return self.done[name]

    def import_modules(self) -> None:
        """Import what the last run has, so that no later child has to."""
        for name in (self.folder / "modules").read_text().split():
            with suppress(Exception):
                importlib.import_module(name)
        gc.freeze()


# --- what is compared -----------------------------------------------------------------------------


def verdict(place: Place, name: str, asked: Sequence[str], kills: int) -> str:
    """Return "equal", or how what is there now differs from the run that nothing happened to.

    Args:
        asked: what the judge was asked meanwhile.
        kills: how often it was killed.
    """
    whole, now = seen(place.folder / name), seen(place.now)
    if not place.is_forking:
        del whole["optimizers"], now["optimizers"]  # a process of its own writes none down
    return compare.fault(whole, now) or _fault_of_account(place, name, asked, kills) or "equal"


def seen(place: Path) -> dict[str, Any]:
    """Return all of a run that a kill must not change."""
    optimizers = place / "optimizers"
    lines = optimizers.read_text().splitlines() if optimizers.exists() else []
    of_run = compare.everything(place / "run")
    return {"files": of_run, "optimizers": dict(line.split() for line in lines)}


def _fault_of_account(place: Place, name: str, asked: Sequence[str], kills: int) -> str:
    """Return what is wrong with what the judge was asked, and with what results say of it; or ""."""
    expected = set(place.questions[name])
    if set(asked) != expected:
        return (
            f"{len(expected.symmetric_difference(asked))} questions were not those of the whole run"
        )
    again = len(asked) - len(expected)
    if again > kills * AT_ONCE:
        return f"{again} questions were asked again after {kills} kills"
    for use, of_whole in zip(_uses(place.now), _uses(place.folder / name), strict=True):
        if not of_whole["calls"] <= use["calls"] <= of_whole["calls"] + again:
            return f"{use['calls']} calls are counted, and {len(asked)} were made"
        paid = use["prompt_tokens"] + use["completion_tokens"]
        if use["price"] != paid or paid < of_whole["price"]:
            return (
                f"a price of {use['price']} for {paid} tokens, of the whole run {of_whole['price']}"
            )
    return ""


def _uses(place: Path) -> list[dict[str, Any]]:
    results = json.loads((place / "run" / "results.json").read_text())
    uses: list[dict[str, Any]] = results["judges"]["uses"]
    return uses


# --- kills ----------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A run that is killed at an operation.

    Attributes:
        start: what it begins with: a finished run, or one that was killed.
        kills: how many there are with the one that `start` was left by.
    """

    name: str
    start: str | None
    kills: int
    kill: Kill
    operation: Operation

    def __str__(self) -> str:
        before = " once more" if self.kills > 1 else ""
        kind, path = self.operation
        return f"{self.name} killed{before} at operation {self.kill} ({kind} {path})"


def at_operations(place: Place, names: Sequence[str], which: str) -> list[Case]:
    """Return the kills at the operations of saves, of what goes on from a kill, or at the rest."""
    cases: list[Case] = []
    for name in names:
        operations = place.whole(name)
        start = BEGINS_WITH.get(name)
        saves = _saves(name, operations)
        print(f"{name}: {place.seconds[name]:.1f} s, {len(operations)} operations", flush=True)
        if which == "save":
            cases += _cases(name, start, 1, operations, [at for save in saves for at in save])
        elif which == "rest":
            others = set(range(len(operations))).difference(*saves)
            cases += _cases(name, start, 1, operations, sorted(others))
        elif saves:
            middle = saves[1][0] if len(saves) > 1 else saves[0][len(saves[0]) // 2]
            cases += _after_a_kill(place, name, middle)
    return cases


def _after_a_kill(place: Place, name: str, at: int) -> list[Case]:
    """Return the kills of a run that goes on from one: at all it does until it has saved again."""
    start = f"{name}, killed"
    place.begin(BEGINS_WITH.get(name))
    asked = len(place.asked())
    if place.killed(name, Kill(at)) != KILLED:
        raise AssertionError(f"{name} was not killed at operation {at}")
    place.questions[start] = place.asked()[asked:]
    place.keep(start)
    operations = place.operations(name)
    saves = _saves(name, operations)
    last = saves[0][-1] if saves else len(operations) - 1
    return _cases(name, start, 2, operations, range(last + 1))


def _cases(
    name: str, start: str | None, kills: int, operations: Sequence[Operation], places: Sequence[int]
) -> list[Case]:
    cases = []
    for at in places:
        cases.append(Case(name, start, kills, Kill(at), operations[at]))
        if operations[at].kind in WRITES:
            cases.append(Case(name, start, kills, Kill(at, half=True), operations[at]))
    return cases


def _saves(name: str, operations: Sequence[Operation]) -> list[list[int]]:
    """Return the operations of the first save of a training, and of the third, which replaces that of a step.

    A judge saves by transactions: there all of them are one.
    """
    if name == "judge":
        return [[at for at, (_, path) in enumerate(operations) if path == compare.STORE]]
    saves = []
    for is_save, block in groupby(range(len(operations)), lambda at: _is_save(operations[at])):
        if is_save:
            saves.append(list(block))
    return [*saves[:1], *saves[2:3]]


def _is_save(operation: Operation) -> bool:
    return "checkpoint" in operation.path


def outcome(place: Place, case: Case) -> str:
    """Carry out a case, run the same command again, and return the verdict."""
    place.begin(case.start)
    before = len(place.asked())
    # What was asked before the first of two kills counts as well.
    earlier = place.questions.get(case.start or "", []) if case.kills > 1 else []
    status = place.killed(case.name, case.kill)
    if status != KILLED:
        return f"not killed: status {status}: {place.last_words()}"
    return _again(place, case.name, before, case.kills, earlier)


def _again(
    place: Place,
    name: str,
    before: int,
    kills: int,
    earlier: Sequence[str] = (),
    start: Callable[[str], int] | None = None,
) -> str:
    earlier_notes = going_on.notes(place.notes)
    lost = going_on.lost(place.run, earlier_notes)
    if lost:
        return f"lost: {lost}"
    due = going_on.due(place.run, place.trainings(name))
    status = ended((start or place.started)(name))
    if status:
        return f"status {status}: {place.last_words()}"
    begun = going_on.begun(going_on.notes(place.notes)[len(earlier_notes) :])
    if place.is_forking:  # a process of its own does not tell
        if begun != due:
            return f"began elsewhere: {begun}, and checkpoints are of {due}"
        place.went_on += any(due.values())
    return verdict(place, name, [*earlier, *place.asked()[before:]], kills)


def at_random(
    place: Place, name: str, seconds: float, rng: random.Random, start: Callable[[str], int]
) -> tuple[str, str]:
    """Kill a run at a random moment, and return what was done and the verdict.

    Args:
        seconds: that the run takes.
        start: starts it, and returns the id of its process.
    """
    while True:
        place.begin(BEGINS_WITH.get(name))
        before = len(place.asked())
        moment = rng.uniform(0, seconds)
        status = killed_after(start(name), moment)
        if status == KILLED:
            break
        if status:
            return name, f"status {status} before the kill: {place.last_words()}"
    done = f"{name} killed after {moment:.2f} of {seconds:.2f} s"
    return done, _again(place, name, before, 1, start=start)


# --- the command ----------------------------------------------------------------------------------


def outcomes(place: Place, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield what was done and the verdict, case by case."""
    rng = random.Random(options.seed)
    names = options.of or list(place.recipes)
    if options.what in ("random", "process"):
        for name in names:
            place.whole(name)
        start, slower = place.started, 0.0
        if options.what == "process":
            start, slower = place.process, _seconds_to_begin()
            place.is_forking = False
        for number in range(options.count or 100):
            name = names[number % len(names)]
            yield at_random(place, name, place.seconds[name] + slower, rng, start)
    else:
        cases = at_operations(place, names, options.what)
        print(f"{len(cases)} cases", flush=True)
        rng.shuffle(cases)  # any number of them is of all kinds
        for case in cases[: options.count]:
            yield str(case), outcome(place, case)


def _seconds_to_begin() -> float:
    """Return how long a process takes until it has imported what a run needs."""
    begun = time.monotonic()
    imports = "import rewarddiff.pipeline.commands"
    os.waitpid(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", imports]), 0)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("random", "process", "save", "resume", "rest"))
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--of", nargs="*", help="the runs that are killed; all, if none is named")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="then it ends")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    import torch

    import rewarddiff.cli
    import rewarddiff.cli.commands
    import rewarddiff.pipeline.commands  # noqa: F401

    torch.set_num_threads(1)
    quicken()
    tally = Tally(["equal"])
    with tempfile.TemporaryDirectory() as folder, judge_at(Path(folder)) as judge:
        models = Path(folder) / "models"
        ended(forked(lambda: make(models), Path(folder) / "log"))
        named = {name: str(models / name) for name in ("policy", "encoder")}
        place = Place(Path(folder), judge, named)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place.folder / "tmp")
        for what, came_of_it in outcomes(place, options):
            tally.add(what, came_of_it)
            if time.monotonic() > until:
                break
    print(f"{place.went_on} went on from a checkpoint")
    tally.end()


if __name__ == "__main__":
    main()
