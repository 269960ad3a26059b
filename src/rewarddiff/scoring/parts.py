"""Windows of an output that are done, each in a file of its own beside the output.

`OUTPUT.parts/window-00000000.jsonl` holds the rows of the first window, and the file of the same
name with `.json` its account: what was counted there. A window is done once its account is there.
So a kill loses the windows that were being done, and any number of processes may do them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import files, launch, sums
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.outputs import LOCK, foreign, windows_for, windows_of
from rewarddiff.processes import once
from rewarddiff.scoring import tables
from rewarddiff.scoring.tables import UnlikeValues, Values
from rewarddiff.store import Store
from rewarddiff.writing import say

ANSWERS = "answers.sqlite"
"""The store of a scorer whose answers cost more than to keep them."""

MADE_FROM = "made-from.json"
"""The file that says what all windows of a folder are made from."""

_WRITTEN = re.compile(
    rf"({re.escape(files.FRESH)})?(window-\d{{8,}}(\.\w+\.npy|\.\w+)|{re.escape(MADE_FROM)})"
    rf"|{re.escape(ANSWERS)}(-journal|-wal|-shm)?|{re.escape(LOCK)}"
)
"""The names of all that is ever written into the folder."""


class Useless(UserError):
    """What was done is of no use: asked again, it would fail again."""


class Parts:
    """The windows of one output.

    Args:
        kind: the suffix of the files that hold their rows, .jsonl or .parquet.
    """

    def __init__(self, folder: Path, kind: str = ".jsonl") -> None:
        self.folder = folder
        self.kind = kind

    def done(self) -> list[int]:
        """Return the numbers of the windows that are done, in order."""
        accounts = self.folder.glob("window-*.json")
        return sorted(int(account.stem.removeprefix("window-")) for account in accounts)

    def write(
        self, window: int, rows: Sequence[Values], account: Mapping[str, Any], **arrays: Array
    ) -> None:
        """Keep a window: its rows, arrays by name, and last its account with the sums of them."""
        files.write_bytes(self._file(window, self.kind), tables.encoded(rows, self.kind))
        written = [self._file(window, self.kind)]
        for name, array in arrays.items():
            written.append(self._file(window, f".{name}.npy"))
            with files.written(written[-1], array.nbytes) as fresh:
                np.save(fresh, array, allow_pickle=False)
        held = sums.of_files(self.folder, [file.name for file in written])
        content = {"account": account, "files": held}
        place = self._file(window, ".json")
        files.write_text(place, sums.sealed_json(place.name, content))

    def leave_out_damaged(self) -> None:
        """Let windows of which a file is not as it was written count as not done, and say so."""
        for window in self.done():
            place = self._file(window, ".json")
            content = sums.read_sealed(place)
            fault = f"{place.name} does not hold what was written to it"
            if content is not None:
                fault = sums.fault(self.folder, content["files"])
            if fault:
                say(f"{self.folder}: {fault}; its window is done again", error=True)
                place.unlink()

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return bool(self.done()) or self._has_answers()

    def _has_answers(self) -> bool:
        place = self.folder / ANSWERS
        if not place.exists():
            return False
        with Store(place) as store:
            return not store.is_empty()

    def account(self, window: int) -> dict[str, Any]:
        """Return what was counted in a window."""
        content: dict[str, Any] = json.loads(self._file(window, ".json").read_text("utf-8"))
        account: dict[str, Any] = content["account"]
        return account

    def array(self, window: int, name: str) -> Array:
        """Return an array that was kept with a window."""
        array: Array = np.load(self._file(window, f".{name}.npy"), allow_pickle=False)
        return array

    def accounts(self) -> Iterator[dict[str, Any]]:
        """Yield what was counted, window by window."""
        return map(self.account, self.done())

    def windows(self) -> Iterator[list[Values]]:
        """Yield the rows, window by window."""
        for window in self.done():
            yield tables.decoded(self._file(window, self.kind))

    def rows_files(self) -> Iterator[Path]:
        """Yield the files that hold the rows, in order."""
        for window in self.done():
            yield self._file(window, self.kind)

    def _file(self, window: int, suffix: str) -> Path:
        return self.folder / f"window-{window:08d}{suffix}"


@contextmanager
def parts_of(output: Path, made_from: Mapping[str, str], kind: str) -> Iterator[Parts]:
    """Hold the folder of an output's windows while it is made, and remove it when it is complete.

    Windows that an earlier call has done stay, if they are made from the same. Where the work fails
    before a first one is done, nothing stays but answers that a scorer was paid for; where it fails
    with `Useless`, nothing at all.

    Args:
        output: without its suffix where the windows are the same for every kind of output.
        made_from: what determines every byte of the windows, by its name.

    Raises:
        UserError: another process is making this output; it cannot hold what is in the windows; the
            folder is a link, or holds files that are not of this module.
    """
    _refuse_foreign(windows_of(output))
    with windows_for(output) as folder:
        once(lambda: _keep_if_same(folder, {**made_from, "kind": kind}))
        parts = Parts(folder, kind)
        once(parts.leave_out_damaged)
        try:
            yield parts
        except BaseException as error:
            if not launch.is_main():
                raise
            if not parts.begun or isinstance(error, Useless):
                files.remove(folder)
            elif isinstance(error, UnlikeValues) and not output.suffix:
                lines = output.with_suffix(".jsonl")
                raise UserError(f"{error}: --output {lines} goes on with what is done") from error
            raise
        once(lambda: files.remove(folder))  # while it is held: another command may wait for it


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files that are not of this module: it is removed in the end, with all in it.

    Raises:
        UserError: names the first such file.
    """
    for place in sorted(folder.glob("*")):
        if not _WRITTEN.fullmatch(place.name):
            raise foreign(folder, place.name)


def _keep_if_same(folder: Path, made_from: Mapping[str, str]) -> None:
    """Remove the windows of a folder that are made from something else, and say so."""
    about = folder / MADE_FROM
    earlier = sums.read_sealed(about)
    if earlier == made_from:
        return
    if earlier is None and about.exists():
        say(f"{about} does not hold what was written to it; starting over", error=True)
    elif earlier is not None:
        others = [name for name in made_from if earlier.get(name) != made_from[name]]
        say(f"{folder}: made with another {' and '.join(others)}; starting over", error=True)
    about.unlink(missing_ok=True)
    for pattern in ("window-*", f"{ANSWERS}*"):
        for file in folder.glob(pattern):
            file.unlink()
    files.write_text(about, sums.sealed_json(about.name, made_from, indent=2))
