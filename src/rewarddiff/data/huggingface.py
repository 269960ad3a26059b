"""Rows of datasets that Hugging Face's `datasets` has saved in a folder, or loads from the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewarddiff.data.file_splits import name_one
from rewarddiff.data.files import Row
from rewarddiff.errors import UserError
from rewarddiff.hub import hub_trouble
from rewarddiff.writing import cut


def is_saved(path: Path) -> bool:
    """Tell whether `datasets` has saved this folder: a dataset, or several by split."""
    if os.path.isfile(path / "dataset_dict.json"):
        return True
    return os.path.isfile(path / "state.json") and os.path.isfile(path / "dataset_info.json")


def load_saved(path: Path) -> Any:
    """Load a folder that `is_saved`."""
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(
            f"{path}: a saved dataset that cannot be loaded ({_cause(error)}); save it again"
        ) from error


def load_from_hub(name: str) -> Any:
    """Open a dataset of the Hub, whose rows come one by one.

    Raises:
        UserError: it cannot be had.
    """
    import datasets

    is_offline = datasets.config.HF_HUB_OFFLINE
    if is_offline:
        trouble: str | None = (
            "the hub was not asked, since HF_DATASETS_OFFLINE or HF_HUB_OFFLINE is set"
        )
    else:
        trouble = hub_trouble(name, "dataset")
    # Where the hub has just not answered, its library looks into its cache at once.
    datasets.config.HF_HUB_OFFLINE = trouble is not None
    try:
        return datasets.load_dataset(name, streaming=True)
    except Exception as error:
        cause = trouble or f"not loaded from the hub ({_cause(error)})"
        raise UserError(f"{name}: no such file, and {cause}; check the name") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = is_offline


def dataset_rows(data: Any, name: str, split: str | None) -> tuple[str, Iterator[Row]]:
    """Return what a dataset's split is called in messages, and its rows.

    Raises:
        UserError: no such split, or several and none named.
    """
    if isinstance(data, Mapping):
        choices = list(data)
        if split is None and len(choices) == 1:
            split = choices[0]
        if split not in choices:
            problem = f"no split {split!r}" if split else "several splits"
            raise UserError(f"{name}: {problem}; {name_one(name, choices)}")
        data, name = data[split], f"{name}[{split}]"
    elif split is not None:
        raise UserError(f"{name}: has no split {split!r}; leave the split out")
    # Plain values, whatever format (NumPy, torch …) it was saved for.
    return name, _rows(_undecoded(data).with_format(None), name)


def _undecoded(data: Any) -> Any:
    """Return a dataset that does not open images, sounds and files that its rows name, anywhere on the web."""
    for column, feature in (data.features or {}).items():
        # What can lie in a file of its own, and no text that is JSON.
        if getattr(feature, "decode", False) and hasattr(feature, "embed_storage"):
            data = data.cast_column(column, replace(feature, decode=False))
    return data


def _rows(data: Iterable[Mapping[str, Any]], name: str) -> Iterator[Row]:
    number = 0
    try:
        table = getattr(data, "data", None)
        if table is not None:
            table.validate(full=True)  # Arrow itself believes what a file says of lengths
        for number, values in enumerate(data, start=1):
            yield Row(number, dict(values))
    except Exception as error:
        raise UserError(
            f"{name}:{number + 1}: cannot be read ({_cause(error)}); "
            "load it anew, or take the row out"
        ) from error


def _cause(error: Exception) -> str:
    return cut(str(error).splitlines()[0]) if str(error).strip() else type(error).__name__
