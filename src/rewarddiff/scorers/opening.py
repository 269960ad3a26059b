"""A scorer by the text that names it on a command line. What a kind needs is imported when opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

from rewarddiff.errors import UserError
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.kinds import KINDS
from rewarddiff.scorers.protocol import Scorer, ScorerOptions
from rewarddiff.store import fingerprint

GRADES = "grades"
"""Names the data's own strengths."""


def open_scorer(text: str | Path) -> Scorer:
    """Return the scorer that a text names, ready to be asked.

    It names the folder of a trained scorer, a reward model of the hub, the address of a server, a
    kind of scorer that needs no options (length), or the data's own grades. A folder of such a name
    is meant by ./NAME.

    Raises:
        UserError: there is no such scorer, or it cannot be asked without options.
    """
    if text == GRADES:
        return DataGrades()
    if is_address(text):
        from rewarddiff.scorers.remote.scorer import open_remote

        return open_remote(str(text))
    kind = _kind(text)
    if kind is not None:
        return _plain(kind).scorer(str(text))
    from rewarddiff import models
    from rewarddiff.scorers.neural.build import load_scorer

    return load_scorer(text).to(models.device())


def fingerprint_of(text: str | Path) -> str:
    """Return a hash of all that determines what the scorer of a text answers; it is not loaded.

    Of a server it is what it says of itself, and its address.

    Raises:
        UserError: see `open_scorer`.
    """
    if text == GRADES:
        return GRADES
    if is_address(text):
        from rewarddiff.scorers.remote.connection import Connection
        from rewarddiff.scorers.remote.options import Remote

        options = Remote(url=str(text))
        served = Connection(options, str(text)).served.identity
        return fingerprint(options.fingerprint(), served)
    kind = _kind(text)
    if kind is not None:
        return _plain(kind).fingerprint()
    from rewarddiff import models

    return models.fingerprint(text)


def is_model(text: str | Path) -> bool:
    """Tell whether a text names a model's folder, or one of the hub, and no other scorer."""
    return text != GRADES and not is_address(text) and _kind(text) is None


def is_address(scorer: object) -> bool:
    """Tell whether a server is meant, and no folder."""
    return isinstance(scorer, str) and scorer.startswith(("http://", "https://"))


def _kind(text: str | Path) -> type[ScorerOptions] | None:
    for kind in KINDS:
        if text == _options(kind)["kind"]:
            return kind
    return None


def _options(kind: type[ScorerOptions]) -> dict[str, object]:
    """Return the options of a kind with their defaults; `MISSING` of those that must be given."""
    options: dict[str, object] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        options[field.name] = default
    return options


def _plain(kind: type[ScorerOptions]) -> ScorerOptions:
    """Return the kind with nothing but defaults."""
    options = _options(kind)
    required = [name for name, default in options.items() if default is MISSING]
    if required:
        raise UserError(
            f"{options['kind']}: a scorer of this kind needs {', '.join(required)}; "
            "ask for it in a recipe, under scorers"
        )
    plain: Callable[[], ScorerOptions] = kind
    return plain()
