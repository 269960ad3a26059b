"""What is kept is found again, and computed once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.errors import UserError
from rewarddiff.remembering import KeptMeter, remember
from rewarddiff.store import Store, fingerprint


def test_a_fingerprint_is_of_content() -> None:
    assert fingerprint({"a": 1, "b": [2, None]}, "x") == fingerprint({"b": [2, None], "a": 1}, "x")
    assert fingerprint((1, 2)) == fingerprint([1, 2])  # JSON has one kind of list
    different = [
        (),
        (1,),
        ("1",),
        (1, 2),
        ([1, 2],),
        (12,),
        ("a", "b"),
        ("ab",),
        (None,),
        (0.1,),
        ("é",),
        ({"a": 1},),
    ]
    assert len({fingerprint(*parts) for parts in different}) == len(different)


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    parts = {"name": "é", "values": [1.5, None, True], "nested": {"b": 2, "a": 1}}
    program = f"from rewarddiff.store import fingerprint; print(fingerprint({parts!r}))"
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == fingerprint(parts)


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    values = {
        "a": [1.5, -1e-300, 0.1 + 0.2],
        "b": "text\nwith 'quotes' — and 日本",
        "c": None,
        "d": {"n": [1, True]},
    }
    with Store(tmp_path / "new folder" / "store.sqlite") as store:
        store.put(values)
        store.put({"d": "another"})
    with Store(tmp_path / "new folder" / "store.sqlite") as store:
        assert store.get(["a", "b", "c", "d", "missing"]) == {**values, "d": "another"}
        assert store.get([]) == {}


def test_all_of_a_put_or_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        with pytest.raises(TypeError):
            store.put({"good": 1, "bad": object()})
        assert store.get(["good", "bad"]) == {}


def test_two_processes_may_keep_to_one_file(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as one, Store(tmp_path / "store.sqlite") as two:
        one.put({"a": 1})
        two.put({"b": 2})
        assert one.get(["a", "b"]) == two.get(["a", "b"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE kept SET value = '5' WHERE key = 'a'",
        "UPDATE kept SET sum = 'x' WHERE key = 'a'",
        "UPDATE kept SET value = CAST(x'b4' AS TEXT) WHERE key = 'a'",  # no UTF-8
        "UPDATE kept SET value = (SELECT value FROM kept WHERE key = 'b'), "
        "sum = (SELECT sum FROM kept WHERE key = 'b') WHERE key = 'a'",
    ],
)
def test_a_value_that_was_changed_on_the_disk_is_made_again(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.put({"a": 4, "b": 9})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(change)
    with Store(path) as store:
        assert store.get(["a", "b"]) == {"b": 9}
    assert "1 of the values that it keeps do not hold what was written" in caplog.text


def test_a_flipped_bit_costs_a_value_or_ends_in_a_line(tmp_path: Path) -> None:
    """Each byte that is not 0 is hit once in its lowest bit, once in its highest, and once in between."""
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("VACUUM")
    with Store(path) as store:
        store.put({"key": {"reward": 0.5}})
    whole = path.read_bytes()
    verdicts: Counter[str] = Counter()
    for place in np.flatnonzero(np.frombuffer(whole, np.uint8)).tolist():
        for bit in {0, place % 8, 7}:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            verdicts[what_comes_of(path)] += 1
    assert set(verdicts) == {"kept", "made again", "a line"}


def what_comes_of(path: Path) -> str:
    """Return what a store says of a key."""
    try:
        with Store(path) as store:
            values = store.get(["key"])
    except UserError as error:
        return "lines" if "\n" in str(error) else "a line"
    assert values in ({}, {"key": {"reward": 0.5}})
    return "kept" if values else "made again"


@pytest.mark.parametrize("change", ["value = CAST(value AS BLOB)", "sum = CAST(sum AS BLOB)"])
def test_what_is_no_text_any_more_is_made_again_and_not_taken(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.put({"a": 4, "b": 9})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE kept SET {change} WHERE key = 'a'")
    with Store(path) as store:
        assert store.get(["a", "b"]) == {"b": 9}
    with Store(tmp_path / "other.sqlite") as other:
        other.take(path)
        assert other.get(["a", "b"]) == {"b": 9}


def test_what_was_kept_before_values_had_sums_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE items (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        database.execute("INSERT INTO items VALUES ('a', '[1.5, \"x\"]')")
    for _ in range(2):
        with Store(path) as store:
            assert store.get(["a"]) == {"a": [1.5, "x"]}


class Squares:
    """Computes squares, last first, and notes what it was asked for; fails after `until`."""

    def __init__(self, until: int = 99) -> None:
        self.asked: list[list[int]] = []
        self.until = until

    def __call__(self, items: Sequence[int]) -> Iterator[tuple[int, int]]:
        self.asked.append(list(items))
        for done, i in enumerate(reversed(range(len(items)))):
            if done == self.until:
                raise KeyboardInterrupt
            yield i, items[i] ** 2


def test_only_what_is_missing_is_computed_and_equal_items_once(tmp_path: Path) -> None:
    squares = Squares()
    with Store(tmp_path / "store.sqlite") as store:
        assert remember(store, [3, 1, 3], str, squares) == [9, 1, 9]
        assert remember(store, [1, 2, 3], str, squares) == [1, 4, 9]
        assert remember(store, [2, 3], str, squares) == [4, 9]
    assert squares.asked == [[3, 1], [2]]


def test_without_a_store_all_is_computed() -> None:
    squares = Squares()
    assert remember(None, [2, 2, 5], str, squares) == [4, 4, 25]
    assert remember(None, [2], str, squares) == [4]
    assert squares.asked == [[2, 5], [2]]
    assert remember(None, [], str, squares) == []


def test_values_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    with Store(tmp_path / "store.sqlite") as store:
        put = store.put
        monkeypatch.setattr(store, "put", lambda values: (written.append(len(values)), put(values)))
        remember(store, list(range(1000)), str, Squares(until=1000))
        assert sum(written) == 1000
        assert len(written) < 100
        assert len(store.get(map(str, range(1000)))) == 1000


def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store, pytest.raises(KeyboardInterrupt):
        remember(store, [1, 2, 3, 4], str, Squares(until=2))  # 4 and 3 are done
    rest = Squares()
    with Store(tmp_path / "store.sqlite") as store:
        assert remember(store, [1, 2, 3, 4], str, rest) == [1, 4, 9, 16]
    assert rest.asked == [[1, 2]]


def test_what_values_have_cost_is_kept_with_them(tmp_path: Path, monkeypatch) -> None:
    """Also of a process that is killed right after it has written some: two tokens a value, four values."""
    put = Store.put
    puts: list[set[str]] = []

    def dying(self: Store, values: dict[str, object]) -> None:
        if len(puts) == 2:
            raise KeyboardInterrupt  # and no later write comes, as after a kill
        puts.append(set(values))
        put(self, values)

    def tokens_of(work: str, *, dies: bool) -> int:
        with Store(tmp_path / "store.sqlite") as store, KeptMeter(store, work) as meter:

            def compute(missing: Sequence[int]) -> Iterator[tuple[int, int]]:
                for place, item in enumerate(missing):
                    meter.tokens += 2
                    yield place, item

            with monkeypatch.context() as patch:
                if dies:
                    patch.setattr(Store, "put", dying)
                with suppress(KeyboardInterrupt):
                    remember(store, [1, 2, 3, 4], str, compute, seconds=0.0, beside=meter.beside)
            return meter.tokens

    assert tokens_of("work", dies=True) == 6
    assert [values & {"1", "2", "3"} for values in puts] == [{"1"}, {"2"}]
    assert all(len(values) == 2 for values in puts)  # a value, and what it has cost
    assert tokens_of("work", dies=False) == 8  # 4 were paid for what is kept, and 4 for the rest
    assert tokens_of("other work", dies=False) == 0


def test_a_journal_that_was_not_begun_does_not_stay(tmp_path: Path) -> None:
    """A kill before the first sync of a transaction leaves a header of zeros, which SQLite lets lie."""
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.put({"key": 1})
    journal = tmp_path / "store.sqlite-journal"
    journal.write_bytes(bytes(512))
    with Store(path) as store:
        assert store.get(["key"]) == {"key": 1}
    assert not journal.exists()


def test_what_is_computed_ends_with_the_pass_that_an_interrupt_ends(tmp_path, monkeypatch) -> None:
    """Requests under way are waited for then, and not when the process has ended its threads."""
    events: list[str] = []

    def compute(missing: Sequence[int]) -> Iterator[tuple[int, int]]:
        try:
            yield from enumerate(missing)
        finally:
            events.append("closed")

    def interrupted(self: Store, values: object) -> None:
        events.append("put")
        if events.count("put") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "put", interrupted)
    with Store(tmp_path / "store.sqlite") as store:
        try:
            remember(store, [1, 2, 3], str, compute, seconds=0.0)
        except KeyboardInterrupt:
            # While the error is alive, its traceback holds the frame, and the collector ends nothing.
            assert events == ["put", "put", "closed"]
        else:
            raise AssertionError("nobody was interrupted")
