"""What an annotator has chosen: single keys that answer, and how texts are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SKIP = "skip"
UNDO = "undo"
STANDARD = {SKIP: "s", UNDO: "u"}


def standard_keys(steps: int) -> dict[str, str]:
    """Return the keys that hold until others are chosen.

    >>> standard_keys(5)
    {'1': '1', '2': '2', '3': '3', '4': '4', '5': '5', 'skip': 's', 'undo': 'u'}
    """
    return {**{str(choice): str(choice) for choice in range(1, steps + 1)}, **STANDARD}


@dataclass(frozen=True)
class Preferences:
    """An annotator's choices.

    Attributes:
        with_keys: single keys answer at all (WCAG 2.1.4: they can be switched off).
        keys: the key of each choice (counted from 1), of skip and of undo.
        written: responses are shown as they are written, not formatted.
    """

    with_keys: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)
    written: bool = False

    @classmethod
    def stored(cls, preferences: Mapping[str, Any], steps: int) -> Preferences:
        """Return what a project's file holds, the rest as it is for everybody."""
        chosen = cls(**preferences)
        return cls(chosen.with_keys, {**standard_keys(steps), **chosen.keys}, chosen.written)

    @classmethod
    def sent(cls, form: Mapping[str, str], steps: int) -> Preferences:
        """Return what a form of the settings page says."""
        keys = {}
        for action in standard_keys(steps):
            keys[action] = form.get(f"key-{action}", "").strip().lower()
        return cls("with_keys" in form, keys, form.get("view") == "written")

    def problems(self) -> dict[str, str]:
        """Return what is wrong with keys, by action; empty: nothing."""
        problems = {}
        owners: dict[str, str] = {}
        for action, key in self.keys.items():
            if len(key) != 1 or not key.isprintable() or key.isspace():
                problems[action] = "Give one letter, digit or sign."
            elif key in owners:
                problems[action] = f"“{key}” is already the key of another answer."
            else:
                owners[key] = action
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Return what the project's file keeps."""
        return asdict(self)
