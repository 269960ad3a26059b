"""From a source straight to groups in an Arrow file, kept in a cache where one is named."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from rewarddiff.data.columns import Columns
from rewarddiff.data.groups import Groups
from rewarddiff.data.ledger import Ledger
from rewarddiff.data.read import read
from rewarddiff.data.sources import paths
from rewarddiff.errors import UserError
from rewarddiff.files import write_text
from rewarddiff.paths import user_path
from rewarddiff.records import Group
from rewarddiff.sums import fault_of_sealed, of_files, sealed_json

logger = logging.getLogger(__name__)

LAYOUT = "10"
"""Raised when the schema or the meaning of a format changes, so that old caches are not read."""


def load_groups(
    source: str | Path,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    strict: bool = True,
    limit: int | None = None,
    ledger: Ledger | None = None,
    max_drop: float = 0.05,
    cache: str | Path | None = None,
) -> Groups:
    """Read a source (see `read`) into an Arrow file and open it.

    Args:
        columns: our name of a column → the file's, where it has others. strict: see `read`.
        limit: stop after so many groups.
        ledger: receives the counts.
        max_drop: largest share of rows that may be dropped.
        cache: a folder that keeps the Arrow file, found again while the content of the source's
            files is the same (a dataset's name is not cached here). None: a temporary file that
            goes with the object.

    Raises:
        UserError: see `read`; also if no group is left, or too much was dropped.
    """
    counts = Ledger()

    def stream() -> Iterator[Group]:
        groups = read(
            source, format=format, split=split, columns=columns, strict=strict, ledger=counts
        )
        return islice(groups, limit)

    read_from = paths(source, split) if cache is not None else []
    try:
        if cache is not None and read_from:
            settings = {
                "source": str(source),
                "format": format,
                "split": split,
                "limit": limit,
                "columns": dict(columns or {}),
                "strict": strict,
            }
            groups = _cached(stream, user_path(cache) / _key(read_from, settings), counts)
        else:
            groups = _temporary(stream())
    finally:
        if ledger is not None:
            ledger.merge(counts)
    counts.enforce(max_drop)
    if not groups:
        counts.enforce(0)
        raise UserError(f"{source}: is empty; give a file that holds rows")
    return groups


def _temporary(stream: Iterator[Group]) -> Groups:
    """Return the groups in a file that goes with them."""
    folder = tempfile.TemporaryDirectory(prefix="rewarddiff-", ignore_cleanup_errors=True)
    file = Path(folder.name) / "groups.arrow"
    Groups.write(stream, file)
    return Groups.open(file, keep=folder)


def _cached(stream: Callable[[], Iterator[Group]], place: Path, counts: Ledger) -> Groups:
    """Return the groups at a place, read into it if need be; count what became of the rows.

    What is not there as it was written is made anew.
    """
    arrow = place.with_name(f"{place.name}.arrow")
    account = place.with_name(f"{place.name}.ledger.json")
    if account.exists() or arrow.exists():
        damage = fault_of_sealed(place.parent, account.name)
        if not damage:
            counts.merge(Ledger.from_dict(json.loads(account.read_text("utf-8"))["ledger"]))
            return Groups.open(arrow)
        logger.warning("%s: %s: the data is read again", place.parent, damage)
    groups = Groups.write(stream(), arrow)
    held = of_files(place.parent, [arrow.name])
    content = {"ledger": counts.to_dict(), "files": held}
    write_text(account, sealed_json(account.name, content))
    return groups


def _key(files: Sequence[Path], settings: Mapping[str, object]) -> str:
    digest = blake2b(json.dumps([LAYOUT, settings], sort_keys=True).encode(), digest_size=16)
    for path in files:
        digest.update(os.fsencode(path.name))
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
