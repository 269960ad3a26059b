"""A parser of command lines whose errors are one line, and what several commands take."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from rewarddiff import launch
from rewarddiff.cli.failing import ended
from rewarddiff.errors import suggest
from rewarddiff.paths import user_path

DATA = (
    "a data file or folder (JSONL, JSON, CSV, Parquet), a dataset's name, or demo; "
    "FOLDER#SPLIT is one split"
)
POLICY = "smollm2-135m-instruct"
SEVERAL_SOURCES = ("data", "samples", "policies", "paths", "worlds")
"""Arguments that may be several sources, and stand where overrides may."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others of the user's."""

    def error(self, message: str) -> NoReturn:
        self.exit(ended(f"error: {message} (see {self.prog} --help)", 2))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help and version, once for all processes of a launcher."""
        if launch.is_main():
            super()._print_message(message, file)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest choice where argparse would list them all."""
        if action.choices is not None and value not in action.choices:
            message = f"there is no '{value}'{suggest(str(value), map(str, action.choices))}"
            raise argparse.ArgumentError(action, message)

    def takes_data(self, text: str = DATA) -> None:
        self.add_argument("data", metavar="DATA", help=text)

    def takes_reading(self, *, max_drop: bool = True) -> None:
        self.add_argument("--format", help="the data's format, where its columns do not tell")
        self.add_argument("--split", help="the split to read, of a dataset that has several")
        text = (
            "columns under other names, ours first: prompt=question,chosen=good,rejected=bad; "
            "may be given again"
        )
        self.add_argument(
            "--columns", type=names, action="append", metavar="NAME=COLUMN", help=text
        )
        if max_drop:  # where it is no key of the command's own
            text = "share of rows that may drop (default 0.05)"
            self.add_argument("--max-drop", type=share, metavar="SHARE", help=text)

    def takes_policy(self) -> None:
        self.add_argument("--model", default=POLICY, help=f"the policy (default {POLICY})")

    def takes_output(self, text: str, metavar: str, *, required: bool = False) -> None:
        self.add_argument("--output", type=user_path, metavar=metavar, required=required, help=text)

    def takes_address(self) -> None:
        text = "the address to serve at (default 127.0.0.1: this machine alone)"
        self.add_argument("--host", default="127.0.0.1", help=text)
        text = "its port (default 8000; 0: any that is free)"
        self.add_argument("--port", type=port, default=8000, help=text)

    def takes_processes(self) -> None:
        text = "score with so many processes, each on a part of the rows (default 1)"
        self.add_argument("--processes", type=count, default=1, metavar="N", help=text)

    def takes_overrides(self, text: str, metavar: str = "KEY=VALUE") -> None:
        self.add_argument("overrides", nargs="*", default=[], metavar=metavar, help=text)


class Once(argparse.Action):
    """An option that is refused a second time, where argparse would keep the last alone."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            message = "is given twice; put all into one, and give that"
            raise argparse.ArgumentError(self, message)
        setattr(namespace, self.dest, values)


def parsed(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; overrides may stand anywhere among the options."""
    args, rest = parser.parse_known_args(argv)
    args.debug = "debug" in args
    sub: Parser = args.parser
    takes_overrides = hasattr(args, "overrides")
    for text in rest:
        if text.startswith("-") or not takes_overrides:
            sub.error(f"unknown argument '{text}'{_mend(text, sub, takes_overrides)}")
        args.overrides.append(text)
    for name in SEVERAL_SOURCES:
        sources = getattr(args, name, None)
        if takes_overrides and isinstance(sources, list):
            args.overrides += [text for text in sources if _is_override(text)]
            setattr(args, name, [text for text in sources if not _is_override(text)])
    if takes_overrides:
        for text in args.overrides:
            if "=" not in text:
                sub.error(f"unknown argument '{text}': expected key=value")
    return args


def _is_override(text: str) -> bool:
    """Tell an override among the names of data: argparse takes what stands beside them for more."""
    return "=" in text and not user_path(text).exists()


def _mend(text: str, sub: Parser, takes_overrides: bool) -> str:
    """Return what may have been meant: an option of nearly this name, or a key of the recipe."""
    name = text.partition("=")[0]
    near = difflib.get_close_matches(name, sub._option_string_actions, n=1, cutoff=0.75)
    if near:
        return f" – did you mean {near[0]}?"
    key = name.lstrip("-").replace("-", "_")
    if takes_overrides and key:
        return f": keys are written without dashes, as {key}=VALUE"
    return ""


def names(text: str) -> dict[str, str]:
    """Return our names of columns with the file's."""
    columns = {}
    for pair in text.split(","):
        name, mark, column = pair.partition("=")
        if not mark or not name.strip() or not column.strip():
            raise argparse.ArgumentTypeError(
                f"'{pair}' names no column, should be as prompt=question"
            )
        columns[name.strip()] = column.strip()
    return columns


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share, should be a number between 0 and 1")
    return value


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} should be a port, from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} should be a whole number of at least 1")
    return int(text)
