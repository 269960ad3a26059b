"""results.json: read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.results.reading import adapter
from rewarddiff.results.run import SCHEMA, Results
from rewarddiff.sums import read_sealed

RESULTS = "results.json"

AGAIN = "run the recipe again to write it anew"


def results_folder(folder: Path) -> Path:
    """Return where a folder's results lie: beside a model that `train` made, in `run`."""
    if not (folder / RESULTS).exists() and (folder / "run" / RESULTS).exists():
        return folder / "run"
    return folder


def read_results(folder: Path) -> Results:
    """Return what a finished run or evaluation wrote. Raises UserError, also where it was changed since."""
    from pydantic import ValidationError

    path = folder / RESULTS
    mend = "give the folder of a finished run"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {mend}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    try:
        results: Results = adapter(Results).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {_cause(error)}; {AGAIN}") from None
    if read_sealed(path) is None:
        raise UserError(f"{path}: does not hold what was written to it; {AGAIN}")
    return results


def _cause(error: Any) -> str:
    """Say in a few words what is wrong with a file of results: of its errors, the telling one."""
    errors = error.errors(include_url=False, include_context=False)
    by_key = {".".join(map(str, fault["loc"])): fault for fault in errors}
    if "schema" in by_key:
        return f"schema is {by_key['schema']['input']}, and this version reads {SCHEMA}"
    key, first = next(iter(by_key.items()))
    if first["type"] == "json_invalid":
        return f"is not JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    if not key:
        return "holds no results"
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key} is a key that results do not have"
    return f"{key}: {first['msg']}"
