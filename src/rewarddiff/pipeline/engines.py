"""What answers prompts, by the text that names it."""

from __future__ import annotations

from urllib.parse import urlsplit

from rewarddiff.errors import UserError
from rewarddiff.sampling import Engine
from rewarddiff.sampling.engines import read_here
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.scorers.judging.options import KEYS_OF_HOSTS


def is_served(text: str) -> bool:
    """Tell whether a text names a model behind a server: MODEL@URL."""
    return "@http://" in text or "@https://" in text


def engine_of(text: str, *, max_prompt: int | None = None) -> Engine:
    """Return what answers prompts: a model behind a server (MODEL@URL), or a folder or hub name.

    Args:
        max_prompt: tokens; a longer prompt keeps its end. A server gets whole prompts.

    Raises:
        UserError: there is no such model, or no key for its server, or one is to cut prompts.
    """
    if not is_served(text):
        return read_here(text, max_prompt=max_prompt)
    if max_prompt is not None:
        raise UserError(
            f"max_prompt: {text} is behind a server, which counts tokens by itself; leave it out"
        )
    model, _, url = text.partition("@")
    key_env = KEYS_OF_HOSTS.get(urlsplit(url).hostname or "")
    return Served(ServedModel(url=url, model=model, key_env=key_env))
