"""Every command that writes, on tiny models: what it is called with, and what it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compare
import tiny


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        line: what it is called with, where `{at}` is the folder that it writes in.
        made: what it has made there; None: it serves until it is stopped.
    """

    line: str
    made: Callable[[Path], Any] | None

    def arguments(self, at: Path) -> list[str]:
        return self.line.format(at=at).split()

    def carry_out(self, at: Path) -> None:
        """Run it in this process, where errors are raised as they come."""
        carry_out(self.arguments(at))


def carry_out(arguments: list[str]) -> None:
    """Run a command in this process.

    Raises:
        UserError: where the command line ends with a line and status 2.
    """
    from rewarddiff.cli.arguments import command_line
    from rewarddiff.cli.parser import parsed

    args = parsed(command_line(), arguments)
    args.handler(args)


def of_file(name: str) -> Callable[[Path], bytes]:
    """Return what reads a file that a command has made."""
    return lambda at: (at / name).read_bytes()


def _of_json(name: str) -> Callable[[Path], Any]:
    return lambda at: json.loads((at / name).read_text().replace(str(at), "AT"))


def _of_run(at: Path) -> Any:
    return [compare.results(at / "o"), compare.numbers(at / "o")]


def _of_sweep(at: Path) -> Any:
    return [_of_json("o/sweep.json")(at), compare.numbers(at / "o")]


COMMANDS = {
    "run": Command("run {recipe} output={at}/o", _of_run),
    "sweep": Command("sweep {recipe} policies.dpo.coefficient.alpha=0.5,1 output={at}/o", _of_sweep),
    "train": Command(
        "train dpo --model {policy} --data {rows} --output {at}/o data.limit=40 train.max_steps=12 train.batch_size=4 "
        "train.precision=fp32",
        lambda at: compare.numbers(at / "o"),
    ),
    "score": Command("score {scorer} {rows} --output {at}/o.jsonl", of_file("o.jsonl")),
    "score to Parquet": Command("score {scorer} {rows} --output {at}/o.parquet", of_file("o.parquet")),
    "weigh": Command("weigh {rows} --scorer {scorer} --output {at}/o.jsonl negative=abs", of_file("o.jsonl")),
    "augment": Command(
        "augment {rows} --model {policy} --scorer {scorer} --output {at}/o.jsonl limit={few} draw.max_new_tokens=4",
        of_file("o.jsonl"),
    ),
    "baseline": Command(
        "baseline {rows} --model {policy} --scorer {scorer} --output {at}/o.jsonl k=2 limit={few} max_new_tokens=4",
        of_file("o.jsonl"),
    ),
    "eval": Command("eval {scorer} {rows} --output {at}/o", lambda at: compare.results(at / "o")),
    "bestof": Command(
        "bestof {rows} --model {policy} --scorer {scorer} --gold {scorer} --output {at}/o n=[1,2] limit={few} "
        "max_new_tokens=4",
        _of_json("o/best_of_n.json"),
    ),
    "lab": Command("lab --output {at}/o seeds=2", of_file("o/lab.md")),
    "annotate": Command("annotate {rows} --output {at}/o --port 0 limit=20", None),
}  # fmt: skip


def commands(
    models: tiny.Models, place: Path, recipe: tiny.Settings, *, pairs: int, few: int
) -> dict[str, Command]:
    """Return all commands; what they read lies in a folder: so many pairs, a recipe, and a scorer trained here.

    Args:
        few: rows that commands take which draw responses.
    """
    place.mkdir(exist_ok=True)
    read = {"policy": models["policy"], "few": few, "at": "{at}"}
    read["rows"] = tiny.lines(place / "rows.jsonl", tiny.pairs(pairs))
    read["recipe"] = place / "recipe.json"
    read["recipe"].write_text(json.dumps(recipe))
    read["scorer"] = place / "scorer"
    trained = "train reward --model {encoder} --data {rows} --output {scorer} data.limit=40 train.max_steps=2"
    settings = "train.precision=fp32 lengths.max_response=48"
    carry_out(f"{trained} {settings}".format(encoder=models["encoder"], **read).split())
    return {
        name: Command(command.line.format(**read), command.made)
        for name, command in COMMANDS.items()
    }
