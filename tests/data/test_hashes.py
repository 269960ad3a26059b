"""Hashes in files behave as a dictionary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import hashes
from rewarddiff.data.hashes import Hashes

# Few different numbers, so that keys meet again, share their last bits, and share their first number.
numbers = st.sampled_from([0, 1, 2, 5, 2**12 + 1, 2**63, 2**64 - 1])


@pytest.fixture(autouse=True)
def _small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SMALLEST", 4)


@given(st.lists(st.tuples(st.integers(1, 2**64 - 1) | numbers.filter(bool), numbers, numbers)))
def test_the_first_entry_of_a_key_stays(entries: list[tuple[int, int, int]]) -> None:
    table = Hashes(key=2, width=3)
    expected: dict[tuple[int, ...], tuple[int, ...]] = {}
    for entry in entries:
        assert table.put(*entry) == expected.get(entry[:2])
        expected.setdefault(entry[:2], entry)


def test_many_numbers_over_several_tables() -> None:
    table = Hashes()
    drawn = [(number * 0x9E3779B97F4A7C15) % 2**64 for number in range(1, 3000)]
    assert all(table.put(number) is None for number in drawn)
    assert all(table.put(number) == (number,) for number in drawn)
    assert len(table._tables) > 5


def test_the_number_zero_is_a_key_too() -> None:
    table = Hashes()
    assert table.put(0) is None
    assert table.put(0) is not None
