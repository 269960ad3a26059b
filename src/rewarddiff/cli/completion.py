"""Shell completion: a script that knows commands, options, files, and keys of a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

SHELLS = ("bash", "zsh", "fish")

FILES = (
    *("data", "samples", "recipe", "path", "paths", "output", "scorer", "gold", "model"),
    *("policies", "judge", "people"),
)
"""Arguments that may be files; folders are offered too."""

FOLDERS = ("run", "runs")

OF_RECIPES = ("demo", "run", "plan", "sweep")
"""Commands that take the keys of a recipe."""

KEYS = (
    *("name", "output", "seed", "model", "lengths.max_prompt", "lengths.max_response"),
    *("data.path", "data.split", "data.format", "data.columns", "data.tests", "data.limit"),
    *("data.splits.train", "data.splits.dev", "data.splits.test"),
    *("data.max_comparisons", "data.max_drop", "data.seed"),
    *("evaluation.prompts", "evaluation.shown"),
    *("evaluation.sampling.max_new_tokens", "evaluation.sampling.temperature"),
    *("evaluation.sampling.stop", "evaluation.sampling.batch_size", "evaluation.sampling.seed"),
    "evaluation.sampling.engine.name",
    *("scorers.", "policies."),
)
"""Keys of every recipe; below the last two a recipe has names of its own. Written out, as a script
that a shell asks for at its start must not wait for what reads recipes."""

NO_SPACE = """
# Behind a key follows its value.
_rewarddiff_completed() {{
  {function} "$@"
  case "${{COMPREPLY[0]-}}" in *=|*.) compopt -o nospace 2>/dev/null ;; esac
}}
complete -o filenames -F _rewarddiff_completed rewarddiff
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a shell, one of `SHELLS`."""
    import shtab

    for name, command in _commands(parser):
        for action in command._actions:
            completed = _completed(name, action.dest)
            if completed is not None and not action.choices:
                action.complete = completed  # type: ignore[attr-defined]
    text = str(shtab.complete(parser, shell))
    if shell == "bash":
        text += NO_SPACE.format(function="_shtab_rewarddiff")
    return text


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _completed(command: str, argument: str) -> Any:
    """Return what an argument of a command is completed by; None: nothing is known of it."""
    import shtab

    if argument in FILES:
        return shtab.FILE
    if argument in FOLDERS:
        return shtab.DIRECTORY
    if argument == "overrides" and command in OF_RECIPES:
        return _keys()
    return None


def _keys() -> dict[str, Any]:
    """Return the completion of keys, by shell."""
    words = " ".join(key if key.endswith(".") else f"{key}=" for key in KEYS)
    return {
        "bash": "_rewarddiff_keys",
        "zsh": f"({words})",
        "fish": words,
        "preamble": {"bash": f'_rewarddiff_keys() {{\n  compgen -W "{words}" -- "$1"\n}}\n'},
    }
