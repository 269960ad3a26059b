"""The column `coefficient` of a dataset, and how it comes into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from rewarddiff.errors import UserError
from rewarddiff.records import LARGEST, is_number

COLUMN = "coefficient"
MARGIN = "margin"

Example = Mapping[str, Any]
Collator = Callable[[Sequence[Example]], dict[str, Any]]


@dataclass(frozen=True)
class WithCoefficients:
    """A collator whose batches also hold the coefficients of their pairs, where rows have any."""

    collator: Collator

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        batch = self.collator(examples)
        if COLUMN in examples[0]:
            batch[COLUMN] = _tensor(examples)
        return batch


def _tensor(examples: Sequence[Example]) -> Tensor:
    """Return the examples' coefficients, in the type that TRL keeps margins in."""
    values = [example[COLUMN] for example in examples]
    check(values, "a batch")
    check_margins(examples, "a batch")
    return torch.tensor(values, dtype=torch.float)


def check_training_data(dataset: Dataset | IterableDataset) -> None:
    """Raise a UserError unless every row has a coefficient, and some row a positive one.

    Of a stream the first row is looked at; the others are as they come.
    """
    first = next(iter(dataset), None)
    if first is not None and COLUMN not in first:
        raise UserError(
            f"train_dataset: no column {COLUMN}, only {', '.join(first)}; "
            "`rewarddiff weigh` writes one, or use TRL's own trainer"
        )
    if isinstance(dataset, Dataset):
        values = dataset.with_format(None)[COLUMN][:]
        check(values, "train_dataset")
        if MARGIN in dataset.column_names:
            margins = dataset.with_format(None).select_columns(MARGIN)
            check_margins(margins, "train_dataset")
        if values and not any(values):
            raise UserError(
                f"train_dataset: every {COLUMN} is 0, nothing would be trained; check the scorer"
            )


def check_margins(examples: Iterable[Example], where: str) -> None:
    """Raise a UserError where a margin is no finite number: TRL would train on it, and log a loss of 0."""
    for row, example in enumerate(examples):
        value = example.get(MARGIN)
        if value is not None and not (is_number(value) and abs(value) <= LARGEST):
            raise UserError(
                f"{where}: {MARGIN} of row {row} is {value!r}, expected a finite number; mend the row, "
                "or leave it out"
            )


def check(values: Sequence[Any], where: str) -> None:
    """Raise a UserError where a coefficient is no finite number of at least 0."""
    for row, value in enumerate(values):
        if not is_number(value) or not 0 <= value <= LARGEST:
            raise UserError(
                f"{where}: {COLUMN} of row {row} is {value!r}, expected a finite number of at least "
                "0; weigh with negative=clip, drop or flip"
            )
