"""What a scorer's folder says of it beside the model: `rewarddiff_scorer.json`, and its prompts."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rewarddiff.config import load_recipe
from rewarddiff.data.split import PromptHashes
from rewarddiff.errors import UserError
from rewarddiff.model_files import ABOUT, PROMPTS
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.texts import Way

JOINT_OPTIONS = ("orders", "duplication", "reverse", "regulariser")
HEAD_OPTIONS = {"general": ("rank",), "segments": JOINT_OPTIONS, "last": JOINT_OPTIONS}
"""In files of format 1 these stand beside the head's name."""


@dataclass(frozen=True)
class About:
    """What stands in `rewarddiff_scorer.json`, besides the format and `trained`.

    Attributes:
        way: of `DecoderTexts`, how responses are read; files of before it was written down do
            without, and mean apart.
    """

    config: ScorerConfig
    temperature: float | None = None
    data: str = ""
    learned: dict[str, list[float]] = field(default_factory=dict)
    way: Way = "whole"


def write_about(folder: Path, about: About) -> None:
    """Write `rewarddiff_scorer.json` of a trained scorer."""
    content = {"format": 2, "kind": about.config.kind, "trained": True, **asdict(about)}
    (folder / ABOUT).write_text(json.dumps(content, indent=2) + "\n")


def read_about(folder: Path) -> About | None:
    """Return what `rewarddiff_scorer.json` says; None where there is none."""
    path = folder / ABOUT
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        config = load_recipe(_current(dict(saved["config"])), [], ScorerConfig)
        temperature = saved["temperature"]
        if temperature is not None:
            temperature = float(temperature)
        way = saved.get("way", "apart")
        if way not in get_args(Way):
            raise ValueError(f"way is {way}, should be one of {', '.join(get_args(Way))}")
        learned = dict(saved.get("learned", {}))
        about = About(config, temperature, str(saved["data"]), learned, way)
        trained = saved["trained"]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: not the description of a scorer ({error}); train the scorer again"
        ) from error
    if trained is not True:
        raise UserError(
            f"{folder}: no trained head (its description says so); "
            "train a scorer on this model first"
        )
    return about


def _current(config: dict[str, Any]) -> dict[str, Any]:
    """Return a scorer's saved configuration in today's spelling."""
    # Before losses had names.
    if config.pop("margin", False):
        config["loss"] = "margin"
    # Before heads had options of their own.
    if isinstance(config.get("head"), str):
        head = {"name": config["head"]}
        for option in HEAD_OPTIONS.get(config["head"], ()):
            if option in config:
                head[option] = config[option]
        for option in ("rank", "together", *JOINT_OPTIONS):
            config.pop(option, None)
        config["head"] = head
    return config


def write_prompts(folder: Path, prompts: Set[str]) -> None:
    """Write the hashes of the prompts that a scorer was trained on, 8 bytes each."""
    hashes = PromptHashes(int(digits, 16) for digits in prompts).numbers
    np.save(folder / PROMPTS, hashes, allow_pickle=False)


def trained_prompts(folder: Path) -> PromptHashes | None:
    """Return the hashes of the prompts that a scorer was trained on.

    None where its folder does not say.

    Raises:
        UserError: the file of hashes is none.
    """
    path = folder / PROMPTS
    if not path.exists():
        return None
    try:
        # Mapped, a file that says it is larger than it is takes no memory.
        hashes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a list of hashes ({error}); copy the scorer again, or remove the file"
        ) from error
    is_array = isinstance(hashes, np.ndarray)  # and no archive of several
    if not is_array or hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise UserError(
            f"{path}: not a list of hashes of 64 bits; copy the scorer again, or remove the file"
        )
    return PromptHashes(np.array(hashes))
