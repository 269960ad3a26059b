"""Ranking files for LLaMA-Factory, which reads no weight and no margin of a pair.

What its DPO, ORPO, SimPO and reward training can be given is which pairs stand in the file, and how
often: dropped and flipped ones are so already in what `rewarddiff weigh` writes, and coefficients
become repetitions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import files
from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import last_turn, messages, spoken_prompt
from rewarddiff.errors import UserError
from rewarddiff.integrations.resampling import resampled_rows
from rewarddiff.paths import user_path

DATASET_INFO = "dataset_info.json"

TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "observation_tag": "tool",
}
"""How turns say who speaks: as everywhere here, and not as LLaMA-Factory has it by default."""


@dataclass(frozen=True)
class Ranking:
    """What was written.

    Attributes:
        rows: of the file.
        pairs: how many different ones these are.
        left_out: pairs that stand in no row: their coefficient is 0, or too small for a copy.
    """

    rows: int
    pairs: int
    left_out: int


def write_ranking(
    pairs: Iterable[Mapping[str, Any]],
    folder: str | Path,
    name: str,
    *,
    rows: int | None = None,
    seed: int = 0,
) -> Ranking:
    """Write pairs as the dataset `name` into LLaMA-Factory's data folder.

    Writes `NAME.jsonl`, and an entry in the folder's `dataset_info.json`, whose other entries stay.

    Args:
        pairs: rows with prompt, chosen, rejected and coefficient, as `rewarddiff weigh` writes
            them. A prompt that is a text becomes what a user says, as LLaMA-Factory reads any.
        rows: how many to write: see `resampling.resampled_rows`.

    Raises:
        UserError: a row is no such pair, or `dataset_info.json` cannot be read.
    """
    folder = user_path(folder)
    info = _dataset_info(folder / DATASET_INFO)
    lines = []
    coefficients = []
    for place, row in enumerate(pairs):
        lines.append(_line(row, place))
        coefficients.append(row.get("coefficient", 1.0))
    chosen_rows = resampled_rows(coefficients, rows=rows, seed=seed)
    files.write_text(folder / f"{name}.jsonl", "".join(lines[row] for row in chosen_rows))
    info[name] = {
        "file_name": f"{name}.jsonl",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "prompt", "chosen": "chosen", "rejected": "rejected"},
        "tags": TAGS,
    }
    files.write_text(folder / DATASET_INFO, json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    different = len(np.unique(chosen_rows))
    return Ranking(len(chosen_rows), different, len(lines) - different)


def _dataset_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text("utf-8"))
    except ValueError as problem:
        raise UserError(f"{path}: no JSON ({problem}); mend it, or move it away") from None
    if not isinstance(info, dict):
        raise UserError(f"{path}: expected an object with an entry for each dataset")
    return info


def _line(row: Mapping[str, Any], place: int) -> str:
    """Return a pair as a line of the file: a conversation, and two turns that may follow it."""
    try:
        prompt = row["prompt"]
        prompt = prompt if isinstance(prompt, str) else messages(prompt, "prompt")
        asked = spoken_prompt(prompt)
        turns = {}
        for side in ("chosen", "rejected"):
            answer = row[side]
            if not isinstance(answer, str):
                answer = last_turn(asked, messages(answer, side), side)
            turns[side] = {"role": "assistant", "content": answer}
    except (KeyError, RowError) as problem:
        raise UserError(
            f"pairs: row {place}: {problem}; expected prompt, chosen, rejected and coefficient, "
            "as `rewarddiff weigh` writes them"
        ) from None
    line = {"prompt": [message.turn() for message in asked], **turns}
    return json.dumps(line, ensure_ascii=False) + "\n"
