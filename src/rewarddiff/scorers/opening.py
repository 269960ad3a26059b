"""A scorer by the text that names it on a command line. What a kind needs is imported when opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from rewarddiff.config import load_recipe
from rewarddiff.data.named import check_named
from rewarddiff.data.vote_database import DATABASE
from rewarddiff.endpoints.addresses import served_model
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.kinds import KINDS
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import Judge as JudgeProtocol
from rewarddiff.scorers.protocol import Scorer, ScorerOptions
from rewarddiff.store import fingerprint
from rewarddiff.writing import say

GRADES = "grades"
"""Names the data's own strengths."""

WORDS = (GRADES, "length")
"""Scorers that a word names."""


def open_scorer(text: str | Path, overrides: Sequence[str] = ()) -> Scorer:
    """Return the scorer that a text names, ready to be asked.

    It names the folder of a trained scorer, a reward model of the hub, the address of a server, a
    language model behind one (MODEL@URL) or in a folder, which is asked as a judge, a file of votes or
    a project of `rewarddiff annotate`, a kind of scorer that needs no options (length), or the data's
    own grades. A folder of such a name is meant by ./NAME.

    Args:
        overrides: options of a language model that judges, as `form=grades`.

    Raises:
        UserError: there is no such scorer, it cannot be asked without options, or has no such ones.
    """
    if is_judge(text):
        return open_judge(str(text), overrides)
    _refuse_options(text, overrides)
    if text == GRADES:
        return DataGrades()
    if is_address(text):
        from rewarddiff.scorers.remote.scorer import open_remote

        return open_remote(str(text))
    kind = _kind(text)
    if kind is not None:
        return _plain(kind).scorer(str(text))
    if _has_votes(text):
        return People(path=str(text)).scorer(str(text))
    from rewarddiff import models
    from rewarddiff.scorers.neural.build import load_scorer

    return load_scorer(text).to(models.device())


def open_judge(text: str, overrides: Sequence[str] = ()) -> Scorer:
    """Return the judge that a text names; whatever else it names may judge too.

    Args:
        text: MODEL@URL, a language model's folder or hub name, or what `open_scorer` takes.
        overrides: options of the judge, as `form=grades`.

    Raises:
        UserError: there is no such judge, or it has no such options.
    """
    if is_judge(text):
        options = judge_options(text, overrides)
        if options.local is not None:
            say(f"  {text}: a language model; it is asked as a judge", error=True)
        return options.scorer(text)
    _refuse_options(text, overrides)
    if _has_votes(text):
        return People(path=text).by_majority.scorer(text)
    return open_scorer(text)


def judge_options(text: str, overrides: Sequence[str] = ()) -> Judge:
    """Return the options of the judge that a text names: see `open_judge`."""
    served = served_model(text)
    named = {"local": text}
    if served is not None:
        model, url = served
        named = {"model": model, "url": url}
    return load_recipe({"kind": "judge", **named}, overrides, Judge)


def is_judge(text: str | Path) -> bool:
    """Tell whether a text names a language model that is to be asked.

    That is one behind a server, or one in a folder or of the hub, with a chat template and without a
    trained head.
    """
    if served_model(str(text)) is not None:
        return True
    if not is_model(text):
        return False
    check_named(text, WORDS)
    from rewarddiff.scorers.neural.foreign import is_language_model

    return is_language_model(str(text))


def options_of_each(texts: Sequence[str], overrides: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the overrides that each of these scorers takes: language models that judge take all.

    Raises:
        UserError: there are overrides, and none of the scorers is a language model that judges.
    """
    options: dict[str, tuple[str, ...]] = dict.fromkeys(texts, ())
    if not overrides:
        return options
    judges = [text for text in texts if is_judge(text)]
    if not judges:
        _refuse_options(texts[0], overrides)
    return options | {text: tuple(overrides) for text in judges}


def _refuse_options(text: str | Path, overrides: Sequence[str]) -> None:
    """Raise a UserError where there are options: the scorer is no language model that judges."""
    if overrides:
        raise UserError(
            f"{overrides[0]}: an option of a language model that judges, and {text} is none; "
            "leave it out, or name one as MODEL@URL"
        )


def fingerprint_of(text: str | Path, overrides: Sequence[str] = ()) -> str:
    """Return a hash of all that determines what the scorer of a text answers; it is not loaded.

    Of a server it is what it says of itself, and its address.

    Args:
        overrides: options of a language model that judges.

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
    if _has_votes(text):
        return People(path=str(text)).fingerprint()
    if is_judge(text):
        return judge_options(str(text), overrides).fingerprint()
    from rewarddiff import models

    return models.fingerprint(text)


def options_named(text: str) -> ScorerOptions | None:
    """Return the options of the scorer that a text names; None of a trained model, and of grades.

    Raises:
        UserError: see `open_scorer`.
    """
    if is_address(text):
        from rewarddiff.scorers.remote.options import Remote

        return Remote(url=text)
    kind = _kind(text)
    if kind is not None:
        return _plain(kind)
    if _has_votes(text):
        return People(path=text)
    return judge_options(text) if is_judge(text) else None


def is_model(text: str | Path) -> bool:
    """Tell whether a text names a model's folder, or one of the hub, and no other scorer."""
    if text == GRADES or is_address(text) or _kind(text) is not None or _has_votes(text):
        return False
    return served_model(str(text)) is None


def is_address(scorer: object) -> bool:
    """Tell whether a server is meant, and no folder."""
    return isinstance(scorer, str) and scorer.startswith(("http://", "https://"))


def is_asked_elsewhere(scorer: Scorer) -> bool:
    """Tell whether its answers are a server's, a judge's or people's: dearer than to keep them."""
    from rewarddiff.scorers.remote.comparer import RemoteComparer
    from rewarddiff.scorers.remote.scorer import RemoteScorer

    return isinstance(scorer, JudgeProtocol | RemoteScorer | RemoteComparer)


def _has_votes(text: str | Path) -> bool:
    """Tell a file, which no model is, and a project of `rewarddiff annotate`."""
    if text == GRADES or is_address(text):
        return False
    place = user_path(text)
    return place.is_file() or (place / DATABASE).is_file()


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
