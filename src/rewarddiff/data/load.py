"""From a source straight to groups in an Arrow file, kept in a cache where one is named."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from rewarddiff.data.groups import Groups
from rewarddiff.data.ledger import Ledger
from rewarddiff.data.read import read
from rewarddiff.data.sources import paths
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path

LAYOUT = "5"
"""Raised when the schema or the meaning of a format changes, so that caches are not read as
something else."""


def load_groups(
    source: str | Path,
    *,
    format: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    ledger: Ledger | None = None,
    max_drop: float = 0.05,
    cache: str | Path | None = None,
) -> Groups:
    """Read a source (see `read`) into an Arrow file and open it.

    Args:
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
    try:
        groups = _groups(
            source, format, split, limit, None if cache is None else user_path(cache), counts
        )
    finally:
        if ledger is not None:
            ledger.merge(counts)
    counts.enforce(max_drop)
    if not groups:
        counts.enforce(0)
        raise UserError(f"{source}: holds no groups; check the file")
    return groups


def _groups(
    source: str | Path,
    format: str | None,
    split: str | None,
    limit: int | None,
    cache: Path | None,
    counts: Ledger,
) -> Groups:
    """The groups of a source, read into `cache` or found there, and into `counts` what became of
    its rows."""
    found = paths(source, split) if cache is not None else []
    if cache is not None and found:
        key = _key(found, {"source": str(source), "format": format, "split": split, "limit": limit})
        arrow, account = cache / f"{key}.arrow", cache / f"{key}.ledger.json"
        if arrow.exists() and account.exists():
            counts.merge(Ledger.from_dict(json.loads(account.read_text("utf-8"))))
            return Groups.open(arrow)
        groups = Groups.write(
            islice(read(source, format=format, split=split, ledger=counts), limit), arrow
        )
        part = account.with_suffix(".part")
        part.write_text(json.dumps(counts.to_dict()), "utf-8")
        os.replace(part, account)
        return groups
    folder = tempfile.TemporaryDirectory(prefix="rewarddiff-", ignore_cleanup_errors=True)
    stream = islice(read(source, format=format, split=split, ledger=counts), limit)
    Groups.write(stream, file := Path(folder.name) / "groups.arrow")
    return Groups.open(file, keep=folder)


def _key(files: Sequence[Path], settings: Mapping[str, object]) -> str:
    digest = blake2b(json.dumps([LAYOUT, settings], sort_keys=True).encode(), digest_size=16)
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
