"""A project's folder: begun with pairs and annotators, or gone on with."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewarddiff.annotate.assigning import assign
from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.records import NAME, Pair, prompt_as_json
from rewarddiff.annotate.votes import Votes, token_hash
from rewarddiff.errors import UserError
from rewarddiff.files import FRESH, put

TOKENS = "tokens.json"
"""The file with the annotators' tokens, beside the votes: those have hashes alone."""

DEFAULT_STEPS = 7
DEFAULT_ANNOTATORS = 3


def open_project(
    folder: Path,
    pairs: Sequence[Pair],
    *,
    annotators: int | None,
    steps: int | None,
    config: AnnotateConfig,
) -> Votes:
    """Begin a project in a folder, or go on with the one that is there.

    Going on, pairs and annotators may be more than before; none: those that are there.

    Raises:
        UserError: there is nothing to compare, or the project was begun with other data or another scale.
    """
    require_project(folder, pairs)
    votes = Votes(folder / NAME)
    try:
        _settle(votes, steps, config)
        _add_items(votes, pairs)
        _add_annotators(votes, annotators or len(votes.names()) or DEFAULT_ANNOTATORS)
        _add_assignments(votes, config)
    except BaseException:
        votes.close()
        raise
    return votes


def require_project(folder: Path, pairs: Sequence[Pair]) -> None:
    """Raise a UserError where there is neither something to compare nor a project."""
    if not pairs and not (folder / NAME).exists():
        raise UserError(f"{folder}: holds no {NAME}; name the data whose responses are compared")
    _refuse_another(folder)


def _refuse_another(folder: Path) -> None:
    """Raise a UserError of a folder that holds something else, as a run, and no project.

    Texts may lie there before it is begun, as guidelines, and what a killed beginning has left.
    """
    if (folder / NAME).exists() or not folder.is_dir():
        return
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    others = [name for name in names if name != TOKENS and not name.endswith((".md", ".txt"))]
    if others:
        raise UserError(
            f"{folder}: holds something else ({others[0]}) and no project; choose another output"
        )


def _settle(votes: Votes, steps: int | None, config: AnnotateConfig) -> None:
    """Store the settings of a new project; refuse other ones of an old one."""
    settings = votes.settings()
    if not settings:
        seed = secrets.randbits(32) if config.seed is None else config.seed
        votes.keep_settings(
            {
                "scale": steps or DEFAULT_STEPS,
                "seed": seed,
                "name": secrets.token_hex(4),
                "secret": secrets.token_hex(16),
            }
        )
        return
    if steps not in (None, settings["scale"]):
        raise UserError(
            f"{votes.path}: was begun with --scale {settings['scale']}; "
            "leave it so, or choose another output"
        )


def _add_items(votes: Votes, pairs: Sequence[Pair]) -> None:
    """Store the pairs that the project does not have yet, behind those that it has.

    Raises:
        UserError: some that it has are not among these.
    """
    identities = _identities(pairs, votes.settings()["secret"])
    there = {row["id"] for row in votes.rows("SELECT id FROM items")}
    lost = there - identities.keys()
    if pairs and lost:
        raise UserError(
            f"{votes.path}: {len(lost)} of its {len(there)} items are not in this data; "
            "name the data that it was begun with, or choose another output"
        )
    rows: list[tuple[object, ...]] = []
    for identity, pair in identities.items():
        if identity not in there:
            place = len(there) + len(rows)
            source = json.dumps(dict(pair.source))
            rows.append((identity, place, prompt_as_json(pair.prompt), pair.a, pair.b, source))
    with votes.writing() as connection:
        connection.executemany("INSERT INTO items VALUES (?,?,?,?,?,?)", rows)


def _identities(pairs: Sequence[Pair], secret: str) -> dict[str, Pair]:
    """Return the pairs by hashes of their texts.

    The key keeps annotators, who see the hash and both texts, from working out which is a.
    """
    identities: dict[str, Pair] = {}
    times: dict[str, int] = {}
    for pair in pairs:
        texts = json.dumps([prompt_as_json(pair.prompt), pair.a, pair.b])
        times[texts] = times.get(texts, 0) + 1
        message = f"{times[texts]} {texts}".encode()
        identity = hmac.digest(bytes.fromhex(secret), message, "sha256").hex()[:16]
        identities[identity] = pair
    return identities


def _add_annotators(votes: Votes, count: int) -> None:
    """Let there be so many annotators, and each have a token that the folder knows."""
    names = votes.names()
    fresh = [f"annotator-{number}" for number in range(len(names) + 1, count + 1)]
    earlier = tokens_of(votes)
    tokens: dict[str, str] = {}
    for name in (*names, *fresh):
        token = earlier.get(name, "")
        is_good = votes.annotator_of(token) == name
        tokens[name] = token if is_good else secrets.token_urlsafe(24)
    # Tokens first: what a kill leaves of them is replaced, and a hash without its token would not be.
    _keep_tokens(votes, tokens)
    with votes.writing() as connection:
        for name, token in tokens.items():
            connection.execute(
                "INSERT INTO annotators (name, token_hash) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET token_hash = excluded.token_hash",
                (name, token_hash(token)),
            )


def tokens_of(votes: Votes) -> dict[str, str]:
    """Return the annotators' tokens; a lost file has none, and new ones are made."""
    try:
        tokens: Mapping[str, str] = json.loads((votes.path.parent / TOKENS).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{votes.path.parent / TOKENS}: no file of tokens ({error}); "
            "delete it, and new links are made"
        ) from error
    return dict(tokens)


def _keep_tokens(votes: Votes, tokens: Mapping[str, str]) -> None:
    """Write the tokens where their owner alone can read them."""
    path = votes.path.parent / TOKENS
    fresh = path.with_name(f"{FRESH}{path.name}")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", encoding="utf-8", opener=_private) as file:
        json.dump(tokens, file, indent=1)
    put(fresh, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _add_assignments(votes: Votes, config: AnnotateConfig) -> None:
    """Ask as many annotators as are wanted about every item."""
    items = [row["id"] for row in votes.rows("SELECT id FROM items ORDER BY place")]
    annotators = votes.names()
    assigned: dict[str, list[str]] = {annotator: [] for annotator in annotators}
    for row in votes.rows("SELECT annotator, item FROM assignments"):
        assigned[row["annotator"]].append(row["item"])
    new = assign(
        items,
        annotators,
        assigned,
        per_item=config.per_item or len(annotators),
        seed=votes.settings()["seed"],
        shuffle=config.shuffle,
    )
    with votes.writing() as connection:
        for assignment in new:
            connection.execute(
                "INSERT INTO assignments (annotator, item, place, first) VALUES (?, ?, ?, ?)",
                (assignment.annotator, assignment.item, assignment.place, assignment.first),
            )
