"""Damage to any file that a command goes on from: found, named, and made anew, or of no consequence.

    python tests/faults/damage.py 200        # 200 random flips, cuts, deletions, zeros and swaps

Half of them are done to a copy of a finished run, the others to what interrupted commands have left: runs that
were stopped in the middle of a training, windows of `score` and `weigh`, stores of `augment` and `bestof`, a
sweep. The same command is run again. It has to end with the results of the command that nothing happened to,
having named the file; a file that nothing reads any more may stay as it is.
"""

from __future__ import annotations

import gc
import io
import itertools
import logging
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import compare
import tiny
from commands import commands
from tally import Tally

KEPT = ("cache/", "store.sqlite")
"""What stages keep for each other; it is read where stages are made anew, so these are lost too."""

STAGES = ("scorers", "policies", "evaluations", "differences", "samples", "rewards")

READ_BY_NOBODY = (
    "results.json",
    "report",
    "figures/",
    "README.md",
    "metrics.jsonl",
    ".html",
    ".md",
)
"""Parts of names of files that are written anew without being read: for people, or out of the checkpoint."""

STORE = "sqlite"

HOWS = ("flipped", "cut", "zeroed", "deleted", "swapped")
IN_STORES = ("value changed", "values swapped")


class Damage(NamedTuple):
    """What is done to which file, by its path in the folder."""

    name: str
    how: str
    place: float

    def do(self, folder: Path) -> tuple[str, ...]:
        """Do it; return the names of the files that it is done to."""
        path = folder / self.name
        if self.how in IN_STORES:
            self._in_store(path)
            return (path.name,)
        if self.how == "swapped":
            return path.name, self._swap(path)
        content = bytearray(path.read_bytes())
        at = int(self.place * len(content))
        path.unlink()  # files may have a second name elsewhere
        if self.how == "deleted":
            return (path.name,)
        if self.how == "flipped":
            content[at] ^= 1 << int(self.place * 8) % 8
        elif self.how == "cut":
            del content[at:]
        elif self.how == "zeroed":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        path.write_bytes(content)
        return (path.name,)

    def _swap(self, path: Path) -> str:
        """Let a file and its neighbour change places."""
        neighbours = sorted(other for other in path.parent.iterdir() if other.is_file())
        other = neighbours[(neighbours.index(path) + 1) % len(neighbours)]
        ours, theirs = path.read_bytes(), other.read_bytes()
        for file, content in ((other, ours), (path, theirs)):
            file.unlink()
            file.write_bytes(content)
        return other.name

    def _in_store(self, path: Path) -> None:
        """Change a value of a store, or let two change places, as SQLite itself would write it."""
        with closing(sqlite3.connect(path)) as store, store:
            keys = [key for (key,) in store.execute("SELECT key FROM kept ORDER BY key")]
            key = keys[int(self.place * len(keys))]
            other = keys[(keys.index(key) + 1) % len(keys)]
            value, held = read_row(store, key)
            if self.how == "value changed":
                changed = value.replace("1", "2") if "1" in value else f" {value}"
                store.execute("UPDATE kept SET value = ? WHERE key = ?", (changed, key))
                return
            for place, row in ((key, read_row(store, other)), (other, (value, held))):
                store.execute("UPDATE kept SET value = ?, sum = ? WHERE key = ?", (*row, place))


def read_row(store: sqlite3.Connection, key: str) -> tuple[str, str]:
    row: tuple[str, str] = store.execute(
        "SELECT value, sum FROM kept WHERE key = ?", (key,)
    ).fetchone()
    return row


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what every file of a folder holds, but for locks."""
    contents = {}
    for path in folder.rglob("*"):
        if path.is_file() and "-lock" not in path.name:
            contents[path.relative_to(folder).as_posix()] = path.read_bytes()
    return contents


GOOD = ("made anew", "not read", "written anew", "computed again", "ended with a line")
"""Named and made anew; of no consequence, since nothing reads it; since it is written in any case; or since what
a store lacks is computed. A store that SQLite cannot read ends the command with a line that says to delete it,
and once that is done all is made anew."""


@dataclass
class Case:
    """A command, and what it has left in a folder before it was done, or when it was.

    Attributes:
        folder: where the command works. kept: a copy of what it has left there.
        again: runs the command to its end. outcome: what that comes to.
        loses: what is lost together with a file that stages keep for each other.
    """

    name: str
    folder: Path
    again: Callable[[], object]
    outcome: Callable[[], Any]
    loses: tuple[str, ...] = ()
    expected: Any = None

    @property
    def kept(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-kept")

    def left(self, stopped: Any = None) -> None:
        """Learn what the command comes to when nothing happens, and keep what it leaves when it is stopped.

        Args:
            stopped: a context in which it is stopped; None: it has been done.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.heard(self.again)
        self.expected = self.outcome()
        if stopped is not None:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            with stopped:
                self.heard(self.again)
        shutil.copytree(self.folder, self.kept)

    def names(self) -> list[str]:
        """Return the files that hold anything; those that a command goes on from twice."""
        names = []
        for name, content in sorted(files_of(self.kept).items()):
            if content:
                names.append(name)
                if any(
                    part in name for part in ("checkpoint/", STORE, "cache/", ".parts/", "started")
                ):
                    names.append(name)
        return names

    def drawn(self, rng: random.Random) -> Damage:
        """Draw a damage that changes something."""
        while True:
            name = rng.choice(self.names())
            hows = IN_STORES if name.endswith(STORE) and rng.random() < 0.7 else HOWS
            damage = Damage(name, rng.choice(hows), rng.random())
            self.restore()
            before = files_of(self.folder)
            try:
                damage.do(self.folder)
            except (sqlite3.Error, IndexError):  # no store of values
                continue
            if files_of(self.folder) != before:
                return damage

    def restore(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.kept, self.folder)

    def after(self, damage: Damage) -> str:
        """Do a damage, run the command again, compare, and return one of `GOOD`, or what is wrong."""
        from rewarddiff.errors import UserError

        self.restore()
        touched = damage.do(self.folder)
        if damage.name.startswith(KEPT):
            for stage in self.loses:
                shutil.rmtree(self.folder / stage, ignore_errors=True)
        damaged = files_of(self.folder)
        ended = ""
        try:
            text = self.heard(self.again)
        except UserError as error:
            if not damage.name.endswith(STORE) or "delete it" not in str(error):
                return f"ended with {error}"
            ended = str(error)
            for name in touched:
                (self.folder / damage.name).with_name(name).unlink()
            text = self.heard(self.again)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        fault = compare.fault(self.expected, self.outcome())
        if fault:
            return fault
        if ended:
            return "ended with a line"
        return self._named(damage, touched, damaged, text)

    def _named(
        self, damage: Damage, touched: tuple[str, ...], damaged: dict[str, bytes], text: str
    ) -> str:
        now = files_of(self.folder)
        path = Path(damage.name)
        others = [path.with_name(name).as_posix() for name in touched]
        # Of two files that changed places either may be named, or their folder.
        if any(name in text for name in touched) or f"{path.parent}: made anew" in text:
            return "made anew"
        if all(now.get(name) == damaged.get(name) for name in others):
            return "not read"
        if all(any(part in name for part in READ_BY_NOBODY) for name in others):
            return "written anew"
        if damage.name.endswith(STORE):
            return "computed again"
        return "made anew without a word"

    @staticmethod
    def heard(work: Callable[[], object]) -> str:
        """Run something, and return what it has printed and logged."""
        log = Log()
        logger = logging.getLogger("rewarddiff")
        logger.addHandler(log)
        level = logger.level
        logger.setLevel(logging.INFO)
        printed = io.StringIO()
        try:
            with redirect_stdout(printed), redirect_stderr(printed):
                work()
        finally:
            logger.removeHandler(log)
            logger.setLevel(level)
        return printed.getvalue() + log.text


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


class Stopped(BaseException):
    """What stands for a kill: nobody catches it."""


@contextmanager
def stopped_at(call: int, place: Any, name: str) -> Iterator[None]:
    """Let a function stop everything at its `call`-th call, which it has to come to."""
    function, calls = getattr(place, name), itertools.count(1)

    def stopping(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise Stopped
        return function(*args, **options)

    setattr(place, name, stopping)
    try:
        yield
    except Stopped:
        return
    finally:
        setattr(place, name, function)
    raise AssertionError(f"{name} was not called {call} times")


# --- what is damaged ------------------------------------------------------------------------------------------------


def without_judging(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe that ends with its trainings, since no prompt is held out."""
    return {**recipe, "data": recipe["data"] | {"splits": {"train": 0.6, "dev": 0.4}}}


def of_run(name: str, folder: Path, recipe: dict[str, Any]) -> Case:
    """Return a recipe that is run."""
    from rewarddiff.pipeline.commands import run_recipe

    return Case(
        name,
        folder,
        lambda: run_recipe({**recipe, "output": str(folder)}, []),
        lambda: {"results": compare.results(folder), "weights": compare.numbers(folder)},
        loses=STAGES,
    )


def finished_run(models: tiny.Models, place: Path) -> Case:
    folder = place / "finished"
    case = of_run("a finished run", folder, tiny.recipe(models, folder))
    case.left()
    return case


def interrupted_runs(models: tiny.Models, place: Path) -> Iterator[Case]:
    """Yield runs that were stopped in the second step of a training, or before samples are scored."""
    import torch

    from rewarddiff.pipeline import run

    def updates(call: int) -> Any:
        return stopped_at(call, torch.optim.AdamW, "step")

    whole = tiny.recipe(models, place)
    turns = {"rloo": tiny.online(tiny.TRAIN | {"max_steps": 4})}
    reward = tiny.scorers(models, kinds=["reward"])
    online = tiny.recipe(models, place, scorers=reward, policies=turns)
    trained = without_judging(whole)
    for name, recipe, stopped in (
        ("a run stopped in its reward model", trained, updates(2)),
        ("a run stopped in its difference model", trained, updates(4)),
        ("a run stopped in its policy", trained, updates(6)),
        ("a run stopped in the middle of a turn", without_judging(online), updates(4)),
        ("a run stopped before samples are scored", whole, stopped_at(1, run, "rewards_stage")),
    ):
        case = of_run(name, place / name.replace(" ", "-"), recipe)
        case.loses = ()
        case.left(stopped)
        yield case


def interrupted_commands(models: tiny.Models, place: Path) -> Iterator[Case]:
    """Yield commands beside runs, stopped in the middle of their work."""
    import torch

    from rewarddiff.pipeline import augment, best_of_n
    from rewarddiff.scoring import parts, windows

    windows.WINDOW = 4
    reward = tiny.scorers(models, kinds=["reward"])
    policies = {"dpo": tiny.policy(source="reward")}
    recipe = tiny.recipe(models, place / "o", scorers=reward, policies=policies)
    with redirect_stdout(io.StringIO()):
        every = commands(models, place, without_judging(recipe), pairs=40, few=4)
    for name, stopped in (
        ("score", stopped_at(4, parts.Parts, "write")),
        ("score to Parquet", stopped_at(4, parts.Parts, "write")),
        ("weigh", stopped_at(4, parts.Parts, "write")),
        ("augment", stopped_at(1, augment, "scores")),
        ("bestof", stopped_at(1, best_of_n, "_pick")),
        ("sweep", stopped_at(6, torch.optim.AdamW, "step")),  # in the second policy
    ):
        command, folder = every[name], place / name.replace(" ", "-")
        case = Case(name, folder, partial(command.carry_out, folder), partial(command.made, folder))
        case.left(stopped)
        yield case


def made_fast() -> None:
    """Leave out what costs more than these trainings: no power is lost, nothing measured, no page read."""
    from rewarddiff import machine
    from rewarddiff.pipeline import commands

    machine.release_memory = lambda: None
    commands.render = lambda results, folder: folder
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    gc.collect()
    gc.freeze()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    made_fast()
    rng = random.Random(0)
    tally = Tally(GOOD)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        models = tiny.models(place)
        interrupted = [
            *interrupted_runs(models, place / "runs"),
            *interrupted_commands(models, place / "commands"),
        ]
        cases = [finished_run(models, place)] * len(interrupted) + interrupted
        for number in range(1, count + 1):
            begun = time.monotonic()
            case = cases[number % len(cases)]
            damage = case.drawn(rng)
            verdict = case.after(damage)
            what = f"{case.name}: {damage.name} {damage.how}"
            tally.add(what, verdict, f"{time.monotonic() - begun:.0f} s", part=case.name)
    tally.end()


if __name__ == "__main__":
    main()
