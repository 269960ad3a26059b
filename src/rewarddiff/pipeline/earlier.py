"""Results that lie already where a command is going to write its own."""

from __future__ import annotations

import json
from pathlib import Path

from rewarddiff.errors import UserError
from rewarddiff.results import RESULTS
from rewarddiff.writing import say


def check_earlier(folder: Path, command: str, title: str, *, others: str) -> None:
    """Refuse to replace the results of another command; say which of this one will be replaced.

    Args:
        others: what to call those of other commands.

    Raises:
        UserError: such results lie in the folder.
    """
    try:
        earlier = json.loads((folder / RESULTS).read_text("utf-8"))
    except (OSError, ValueError):
        return
    # Results of before commands were told apart are a run's, with a recipe, or an evaluation's.
    is_own = isinstance(earlier, dict) and earlier.get("recipe") is None
    if not is_own or earlier.get("command", "eval") != command:
        raise UserError(f"{folder}: holds results {others}; choose another output")
    if earlier.get("name") != title:
        say(f"{folder}: what is there will be replaced ({earlier.get('name')})")
