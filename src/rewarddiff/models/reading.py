"""What transformers reads from a model's folder: quietly, and with errors in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewarddiff.errors import UserError, is_panic


def read(auto: Any, folder: Path, **options: Any) -> Any:
    """Load a part of a model: the one place where transformers reads what others wrote.

    Code of the folder is never run: a model that transformers knows by itself does without, others
    are refused.
    """
    with explained(folder), quiet():
        return auto.from_pretrained(folder, trust_remote_code=False, **options)


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn whatever a library raises over files that it cannot load into one line."""
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    # Bad files make the libraries raise of all kinds: KeyError, AssertionError, SafetensorError, …
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise UserError(f"{place}: cannot be loaded ({reason(error)})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the libraries' bars, reports, warnings and questions: what matters in them is raised.

    A library asks whether to run a folder's code, also where it was told not to: of models within
    models, and of tokenizers within tokenizers. It is not let to ask, nor to run any.
    """
    import transformers
    from transformers import dynamic_module_utils as foreign_code

    log: Any = transformers.utils.logging
    level = log.get_verbosity()
    had_bars = log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with (
            warnings.catch_warnings(),
            _replaced(foreign_code, "TIME_OUT_REMOTE_CODE", 0),
            _replaced(foreign_code, "get_class_in_module", _refuse_code),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if had_bars:
            log.enable_progress_bar()


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    """Let a name of a module stand for something else while the block runs."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _refuse_code(*_: object, **options: object) -> None:
    raise ValueError("it asks for trust_remote_code")  # which `reason` words


def reason(error: BaseException) -> str:
    """Return the line of an error that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if any("trust_remote_code" in line for line in lines):
        return "it needs code of its own, and code in a model's folder is never run"
    mismatches = [line for line in lines if line.startswith("size mismatch")]
    telling = (mismatches + lines)[0]
    return telling.rstrip(".")[:200]
