"""Values that are computed once: by processes that share the work, and kept in a store.

Of processes that work together each writes to a file of its own, so that none waits for another and files on
a shared disk have one writer. What a killed process had computed the main one takes over when the store
is opened again, by however many processes.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rewarddiff import launch, processes
from rewarddiff.machine import Meter
from rewarddiff.store import Store, fingerprint

Item = TypeVar("Item")

WRITE_SECONDS = 1.0
"""Values are written together this often: one write each would take longer than a small model."""


def open_store(path: Path) -> Store:
    """Open a store; processes that work together do so together.

    The main one has all that is kept. Another one has a file beside it, of what it has computed since
    `remember` last told the main one.
    """
    processes.once(lambda: _take_over(path))
    rank = processes.processes().process_index
    if rank == 0:
        return Store(path)
    own = path.with_name(f"{path.name}.{rank}")
    atexit.register(_remove_if_empty, own)
    return Store(own)


def _remove_if_empty(path: Path) -> None:
    if not path.exists():
        return
    with Store(path) as store:
        is_empty = store.is_empty()
    if is_empty:
        path.unlink()


def _take_over(path: Path) -> None:
    """Put into a store what processes that were killed have left beside it."""
    leftovers = [place for place in path.parent.glob(f"{path.name}.*") if _is_of_a_rank(place)]
    if not leftovers:
        return
    with Store(path) as store:
        for place in leftovers:
            store.take(place)


def _is_of_a_rank(place: Path) -> bool:
    return place.suffix.removeprefix(".").isdecimal()


class KeptMeter(Meter):
    """Measures work whose values `remember` keeps, in processes that may be killed and go on.

    What it has cost is kept with the values, of each process by itself.

    Args:
        key: of the work.
    """

    def __init__(self, store: Store, key: str) -> None:
        super().__init__()
        keys = [fingerprint("cost", key, rank) for rank in range(processes.count())]
        earlier = processes.once(lambda: store.get(keys))
        self._key = keys[processes.rank()]
        if self._key in earlier:
            self.go_on(earlier[self._key])

    def beside(self) -> dict[str, Any]:
        return {self._key: self.so_far()}


def remember(
    store: Store | None,
    items: Sequence[Item],
    key: Callable[[Item], str],
    compute: Callable[[Sequence[Item]], Iterable[tuple[int, Any]]],
    *,
    alone: bool = False,
    together: bool = False,
    begin: Callable[[Sequence[Item]], None] = lambda _: None,
    keep: Callable[[Any], bool] = lambda _: True,
    seconds: float = WRITE_SECONDS,
    beside: Callable[[], Mapping[str, Any]] = dict,
) -> list[Any]:
    """Return the value of every item, computing only those the store does not hold.

    `compute` gets the missing items and yields (index among them, value) in any order; values are
    stored every so many seconds and when an error or the user ends the pass, so that it goes on
    where it stopped. Inside of `processes.shared`, processes that work together compute a share each, and
    all get all values. One that fails waits for no other: the launcher ends them.

    Args:
        alone: then the main process computes all: it asks a server, which has its limits.
        together: then `compute` is called by all processes together, with nothing where a share is
            empty: none of them can do it by itself.
        begin: is told all that is missing, whoever computes it, where there is any.
        keep: which values are stored; the others are computed anew next time.
        seconds: 0 stores each as it comes, so that a kill loses none.
        beside: gives what is stored in one step with values, by keys of its own: what they have cost.
    """
    keys = [key(item) for item in items]
    work = _Pass(store, items, keys, compute, begin, keep, seconds, beside)
    if not processes.is_shared():
        return work.by_one()
    if alone:
        return processes.once(work.by_one)
    return work.by_all(together)


@dataclass(frozen=True)
class _Pass(Generic[Item]):
    """One call of `remember`; `keys` are those of the items."""

    store: Store | None
    items: Sequence[Item]
    keys: Sequence[str]
    compute: Callable[[Sequence[Item]], Iterable[tuple[int, Any]]]
    begin: Callable[[Sequence[Item]], None]
    keep: Callable[[Any], bool]
    seconds: float
    beside: Callable[[], Mapping[str, Any]]

    def by_one(self) -> list[Any]:
        """Return all values, computed by this process."""
        values = self._kept()
        missing = self._missing(values)
        if missing:
            self.begin(list(missing.values()))
            values |= self._computed(missing)
        return [values[key] for key in self.keys]

    def by_all(self, together: bool = False) -> list[Any]:
        """Return all values, of which each process computes a share: by itself, or together with all."""
        values = processes.once(self._kept)
        missing = self._missing(values)
        if not missing:
            return [values[key] for key in self.keys]
        self.begin(list(missing.values()))
        keys = list(missing)
        mine = [keys[place] for place in processes.own_share(len(keys))]
        share = {key: missing[key] for key in mine}
        if together:
            computed = self._computed(share)
        else:
            with processes.by_itself():
                computed = self._computed(share) if share else {}
        parts = processes.from_every_process(computed)
        for part in parts:
            values |= part
        self._tell_main(parts[1:])
        return [values[key] for key in self.keys]

    def _kept(self) -> dict[str, Any]:
        """Return the values that the store has."""
        return {} if self.store is None else self.store.get(self.keys)

    def _missing(self, values: Mapping[str, Any]) -> dict[str, Item]:
        """Return the items without a value by their keys; equal ones once."""
        pairs = zip(self.keys, self.items, strict=True)
        return {key: item for key, item in pairs if key not in values}

    def _computed(self, items: Mapping[str, Item]) -> dict[str, Any]:
        """Return the value of every item, stored as they come."""
        values: dict[str, Any] = {}
        keys = list(items)
        computed = self.compute(list(items.values()))
        unwritten: dict[str, Any] = {}
        written = time.monotonic()
        try:
            for index, value in computed:
                values[keys[index]] = value
                if self.keep(value):
                    unwritten[keys[index]] = value
                if unwritten and time.monotonic() - written >= self.seconds:
                    self._put(unwritten)
                    unwritten = {}
                    written = time.monotonic()
        finally:
            try:
                self._put(unwritten)
            finally:
                # Not left to the collector: at the end of the process nobody would run what it waits for.
                if isinstance(computed, Generator):
                    computed.close()
        return values

    def _put(self, values: Mapping[str, Any]) -> None:
        if self.store is None:
            return
        written = {**values, **self.beside()}
        if written:
            self.store.put(written)

    def _tell_main(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Let the main process keep what others have computed, who then need not."""
        if self.store is None:
            return
        kept: dict[str, Any] = {}
        for part in parts:
            kept |= {key: value for key, value in part.items() if self.keep(value)}
        processes.once(lambda: self._put(kept))
        if not launch.is_main():
            self.store.clear()
