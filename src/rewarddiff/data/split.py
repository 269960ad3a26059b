"""Splits by prompt, decided by a hash of its text: the same prompt always lands in the same
split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from rewarddiff.data.groups import Groups
from rewarddiff.errors import UserError
from rewarddiff.records import Group, prompt_text


def split_key(group: Group) -> str:
    """What decides the split: the group's topic, or its prompt as text."""
    return group.topic or prompt_text(group.prompt)


def prompt_hashes(groups: Iterable[Group]) -> frozenset[str]:
    """Return a hash of 16 hex digits for every different prompt: what is in two such sets is in
    both sources.

    A prompt counts by its text, as in `split_key`, but for outer spaces: text and a single user
    turn are the same.
    """
    texts = (prompt_text(group.prompt).strip() for group in groups)
    return frozenset(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() for text in texts
    )


def split_of(key: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """The split of one key: u = blake2b(seed, key) / 2⁶⁴ in [0, 1), looked up in the cumulated
    fractions.

    It depends on nothing but its arguments: not on the other rows, their order, or the machine.

    Args:
        key: what `split_key` returns.
        fractions: split → share, in order; they add up to 1.

    Raises:
        UserError: fractions that are negative or do not add up to 1.
    """
    shares = list(fractions.values())
    if (
        not shares
        or any(not 0 <= share <= 1 for share in shares)
        or not math.isclose(sum(shares), 1, abs_tol=1e-9)
    ):
        raise UserError(
            f"split fractions {dict(fractions)}: they add up to {sum(shares):g}; make them add up to 1"
        )
    digest = blake2b(f"{seed}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    end = 0.0
    for name, share in fractions.items():
        end += share
        if place < end:
            return name
    return [name for name, share in fractions.items() if share > 0][-1]


def split(groups: Groups, fractions: Mapping[str, float], seed: int = 0) -> dict[str, Groups]:
    """Views of the groups, one for each split in `fractions`, in the order of the data.

    Raises:
        UserError: a split with a positive fraction got nothing.
    """
    places: dict[str, list[int]] = {name: [] for name in fractions}
    keys = set()
    for index, group in enumerate(groups):
        key = split_key(group)
        keys.add(key)
        places[split_of(key, fractions, seed)].append(index)
    for name, share in fractions.items():
        if share > 0 and not places[name]:
            raise UserError(
                f"split {name}: got none of {len(groups)} groups with {len(keys)} different prompts or topics; "
                "raise its fraction, change the seed, or bring more data"
            )
    return {name: groups.select(found) for name, found in places.items()}
