"""What a tokenizer's files say: of which class it is, and how far it swells a text.

A tokenizer is a program too. One that turns every letter into a thousand leaves no memory, and ends
the process where no error can be caught. So its files are looked at before they are loaded.
"""

from __future__ import annotations

import json
import re
from math import prod
from pathlib import Path
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.model_files import json_object

CLASS = re.compile(r"\w*(Tokenizer|TokenizerFast|Backend)")
"""How classes of tokenizers are called."""

GROWTH = 1000
"""Characters that one may become, by all replacements in turn."""

FRAME = 1000
"""Tokens that may stand around a text."""


def require_tokenizer(folder: Path) -> None:
    """Look at a folder before its tokenizer is loaded.

    Raises:
        UserError: its class is none of a tokenizer, or it would swell texts without measure.
    """
    for name in ("tokenizer_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            _require_class(path, json_object(path).get("tokenizer_class"))
    path = folder / "tokenizer.json"
    if path.is_file():
        _require_measure(path, json_object(path))


def _require_class(path: Path, chosen: Any) -> None:
    """Refuse a class that is no tokenizer's.

    transformers would load it all the same, whatever the class then reads: a model's its pickles.
    """
    if chosen is not None and not (isinstance(chosen, str) and CLASS.fullmatch(chosen)):
        raise UserError(
            f"{path}: tokenizer_class is {json.dumps(chosen)}, no tokenizer of transformers; "
            "name the class that the tokenizer was saved by, or delete the key"
        )


def _require_measure(path: Path, tokenizer: dict[str, Any]) -> None:
    """Refuse replacements, and a frame, that make far more of a text than it is."""
    for key in ("normalizer", "decoder"):
        growth = prod(_growth(step) for step in _steps(tokenizer.get(key)))
        if growth > GROWTH:
            raise UserError(
                f"{path}: its {key} may make {growth:.3g} characters of one; take another tokenizer"
            )
    added = sum(_added(step) for step in _steps(tokenizer.get("post_processor")))
    if added > FRAME:
        raise UserError(
            f"{path}: its post_processor puts {added:,} tokens around a text; take another tokenizer"
        )


def _steps(part: Any) -> list[dict[str, Any]]:
    """Return a part of a tokenizer and, at any depth, the parts it is made of."""
    steps = []
    if isinstance(part, dict):
        steps.append(part)
        part = list(part.values())
    if isinstance(part, list):
        for child in part:
            steps += _steps(child)
    return steps


def _growth(step: dict[str, Any]) -> float:
    """Return how many characters a step makes of one."""
    content = step.get("content", step.get("prepend"))
    if step.get("type") not in ("Replace", "Prepend") or not isinstance(content, str):
        return 1.0
    pattern = step.get("pattern")
    replaced = pattern.get("String") if isinstance(pattern, dict) else None
    return max(1.0, len(content) / max(1, len(replaced or "")))


def _added(step: dict[str, Any]) -> int:
    """Return how many tokens a step puts around one text, or two."""
    if step.get("type") != "TemplateProcessing":
        return 0
    ids = {
        name: len(token.get("ids", ())) for name, token in step.get("special_tokens", {}).items()
    }
    frame = [*step.get("single", ()), *step.get("pair", ())]
    names = [piece["SpecialToken"]["id"] for piece in frame if "SpecialToken" in piece]
    return sum(ids.get(name, 1) for name in names)
