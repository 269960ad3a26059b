"""Values that are computed once: by processes that share the work, and kept in a store.

Of processes that work together each writes to a file of its own, so that none waits for another and files on
a shared disk have one writer. What a killed process had computed the main one takes over when the store
is opened again, by however many processes.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rewarddiff import processes
from rewarddiff.store import Store

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


def remember(
    store: Store | None,
    items: Sequence[Item],
    key: Callable[[Item], str],
    compute: Callable[[Sequence[Item]], Iterable[tuple[int, Any]]],
    *,
    begin: Callable[[Sequence[Item]], None] = lambda _: None,
    keep: Callable[[Any], bool] = lambda _: True,
    seconds: float = WRITE_SECONDS,
) -> list[Any]:
    """Return the value of every item, computing only those the store does not hold.

    `compute` gets the missing items and yields (index among them, value) in any order; values are
    stored every so many seconds and when an error or the user ends the pass, so that it goes on
    where it stopped. Processes that work together, with the same items, compute a share each, and
    all get all values. One that fails waits for no other: the launcher ends them.

    Args:
        begin: is told all that is missing, whoever computes it, where there is any.
        keep: which values are stored; the others are computed anew next time.
        seconds: 0 stores each as it comes, so that a kill loses none.
    """
    keys = [key(item) for item in items]
    values: dict[str, Any] = {}
    if store is not None:
        values = processes.once(lambda: store.get(keys))
    missing = {k: item for k, item in zip(keys, items, strict=True) if k not in values}
    if not missing:
        return [values[k] for k in keys]
    begin(list(missing.values()))
    missing_keys = list(missing)
    mine = [missing_keys[place] for place in processes.own_share(len(missing))]
    of_mine = {k: missing[k] for k in mine}
    with processes.by_itself():
        computed = _computed(store, of_mine, compute, keep, seconds)
    parts = processes.from_every_process(computed)
    for part in parts:
        values |= part
    if store is not None and len(parts) > 1:
        _tell_main(store, parts[1:], keep)
    return [values[k] for k in keys]


def _computed(
    store: Store | None,
    items: Mapping[str, Item],
    compute: Callable[[Sequence[Item]], Iterable[tuple[int, Any]]],
    keep: Callable[[Any], bool],
    seconds: float,
) -> dict[str, Any]:
    """Return the value of every item by its key, stored as they come: see `remember`."""
    values: dict[str, Any] = {}
    if not items:
        return values
    keys = list(items)
    computed = compute(list(items.values()))
    unwritten: dict[str, Any] = {}
    written = time.monotonic()
    try:
        for index, value in computed:
            values[keys[index]] = value
            if keep(value):
                unwritten[keys[index]] = value
            if store is not None and unwritten and time.monotonic() - written >= seconds:
                store.put(unwritten)
                unwritten = {}
                written = time.monotonic()
    finally:
        try:
            if store is not None and unwritten:
                store.put(unwritten)
        finally:
            # Not left to the collector: at the end of the process nobody would run what it waits for.
            if isinstance(computed, Generator):
                computed.close()
    return values


def _tell_main(
    store: Store, parts: Sequence[Mapping[str, Any]], keep: Callable[[Any], bool]
) -> None:
    """Let the main process keep what others have computed, who then need not."""
    kept: dict[str, Any] = {}
    for part in parts:
        kept |= {k: value for k, value in part.items() if keep(value)}
    processes.once(lambda: store.put(kept))
    if not processes.is_main():
        store.clear()
