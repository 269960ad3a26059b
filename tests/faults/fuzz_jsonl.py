"""Looks for lines that the reader of JSON Lines stumbles over, led by what they make it run (atheris).

    python tests/faults/fuzz_jsonl.py -max_total_time=300        # any options of libFuzzer

Atheris is not among what the project needs: `pip install atheris` beside it. Whatever is read has to end
in as many rows as `data.recount` counts without the reader, or in one line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

try:
    import atheris
except ImportError:
    sys.exit(
        "atheris is not installed: pip install atheris (it comes for Linux, for some versions of Python)"
    )

with atheris.instrument_imports(include=["rewarddiff", "json"]):
    from rewarddiff.data import Ledger, read
    from rewarddiff.errors import UserError

from data import recount

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
PLACE = Path(tempfile.mkdtemp(prefix="rewarddiff-fuzz-"))
FILE = PLACE / "rows.jsonl"


def try_one(content: bytes) -> None:
    """Read a file of these bytes."""
    FILE.write_bytes(content)
    ledger = Ledger()
    message = ""
    try:
        groups = list(read(FILE, ledger=ledger))
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    if message:
        assert FILE.name in message
        return
    assert recount(FILE) in (None, ledger.total)
    for group in groups:
        for response in group.responses:
            assert response.strip()
            response.encode("utf-8")


def write_corpus(folder: Path) -> None:
    """Write the examples of every format, to begin with."""
    folder.mkdir(exist_ok=True)
    for name, section in re.findall(
        r"^### (\S+)\n(.*?)(?=^##)", PAGE.read_text("utf-8"), re.M | re.S
    ):
        (folder / name).write_text(re.findall(r"```jsonl\n(.*?)```", section, re.S)[0])
    (folder / "array").write_text(json.dumps([{"prompt": "p", "chosen": "a", "rejected": "b"}]))


def main() -> None:
    corpus = PLACE / "corpus"
    write_corpus(corpus)
    atheris.Setup([*sys.argv, str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
