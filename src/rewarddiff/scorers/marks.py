"""What a scorer is known by, however it is asked: who has trained a policy is no independent judge."""

from __future__ import annotations

import importlib

from rewarddiff.errors import UserError
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import ScorerOptions
from rewarddiff.scorers.remote.options import Remote
from rewarddiff.store import fingerprint


def marks(options: ScorerOptions) -> set[str]:
    """Return what a scorer is known by: see `mark`; nothing where its votes or weights are gone.

    A run's votes may have been moved away since. They cannot be told apart from others then.
    """
    try:
        return {mark(options)}
    except UserError:
        return set()


def mark(options: ScorerOptions) -> str:
    """Return what tells that two scorers which are not trained here know the same.

    A language model is known by its name on a server, at whatever address, or by its weights where it
    is read here; people by their votes, however these are combined; a reward model behind a server by
    its name there, or else by the address. Its form, prompt, seed or order make no other judge.

    Raises:
        UserError: there is no such model, or the votes cannot be read.
    """
    match options:
        case Judge(local=None):
            return f"language model {options.model}"
        case Judge():
            models = importlib.import_module("rewarddiff.models")
            return f"weights {models.fingerprint(options.local)}"
        case People():
            return f"votes {options.votes_fingerprint()}"
        case Remote():
            return fingerprint("remote", options.model or options.address)
        case _:
            return options.fingerprint()
