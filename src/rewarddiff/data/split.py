"""Splits by a hash of the prompt: the same prompt always lands in the same split."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Set

import numpy as np
from numpy.typing import NDArray

from rewarddiff.data.groups import Groups
from rewarddiff.errors import UserError
from rewarddiff.hashing import number, uniform
from rewarddiff.records import Group, prompt_text


def split_key(group: Group) -> str:
    """Return what decides the split: the group's topic, or its prompt as text."""
    return group.topic or prompt_text(group.prompt)


class PromptHashes(Set[str]):
    """Hashes of 16 hex digits as numbers of 64 bits: 8 bytes each.

    Args:
        numbers: in any order, and any number of times.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers: NDArray[np.uint64] = np.unique(np.fromiter(numbers, np.uint64))

    @classmethod
    def _from_iterable(cls, hashes: Iterable[str]) -> PromptHashes:  # type: ignore[override]
        return cls(int(digits, 16) for digits in hashes)

    def __contains__(self, digits: object) -> bool:
        number = np.uint64(int(str(digits), 16))
        place = int(np.searchsorted(self.numbers, number))
        return place < len(self.numbers) and bool(self.numbers[place] == number)

    def __iter__(self) -> Iterator[str]:
        return (f"{int(number):016x}" for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def prompt_hashes(groups: Iterable[Group]) -> PromptHashes:
    """Return a hash of 16 hex digits for every different prompt.

    A hash that is in two such sets is a prompt of both sources. A prompt counts by its text, as in
    `split_key`, but for outer spaces: text and a single user turn are the same.
    """
    return PromptHashes(map(prompt_hash, groups))


def prompt_hash(group: Group) -> int:
    """Return the hash of a group's prompt as a number of 64 bits."""
    return number(prompt_text(group.prompt).strip())


def split_of(key: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """Return the split of one key: u = blake2b(seed, key) / 2⁶⁴ in the cumulated fractions.

    u is in [0, 1). It depends on nothing but its arguments: not on the other rows, their order, or the machine.

    Args:
        key: what `split_key` returns.
        fractions: split → share, in order; they add up to 1.

    Raises:
        UserError: fractions that are negative or do not add up to 1.
    """
    shares = fractions.values()
    total = sum(shares)
    are_shares = all(0 <= share <= 1 for share in shares)
    if not are_shares or not math.isclose(total, 1, abs_tol=1e-9):
        raise UserError(
            f"split fractions {dict(fractions)}: they add up to {total:g}; make them add up to 1"
        )
    place = uniform(f"{seed}\0{key}")
    end = 0.0
    for name, share in fractions.items():
        end += share
        if place < end:
            return name
    # The sum of the fractions may fall short of 1 by a rounding.
    return [name for name, share in fractions.items() if share > 0][-1]


def split(groups: Groups, fractions: Mapping[str, float], seed: int = 0) -> dict[str, Groups]:
    """Return a view of the groups for each split in `fractions`, in the order of the data.

    Raises:
        UserError: a split with a positive fraction got nothing.
    """
    places = {name: array("q") for name in fractions}
    for index, group in enumerate(groups):
        places[split_of(split_key(group), fractions, seed)].append(index)
    for name, share in fractions.items():
        if share > 0 and not places[name]:
            raise UserError(
                f"split {name}: got none of {len(groups)} groups "
                f"with {len(set(map(split_key, groups)))} different prompts or topics; "
                "bring at least some twenty, raise its fraction, or change the seed"
            )
    return {name: groups.select(indices) for name, indices in places.items()}
