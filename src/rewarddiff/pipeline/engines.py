"""What answers prompts, by the text that names it."""

from __future__ import annotations

from urllib.parse import urlsplit

from rewarddiff.endpoints.addresses import served_model
from rewarddiff.errors import UserError
from rewarddiff.sampling import Engine
from rewarddiff.sampling.engines import read_here
from rewarddiff.sampling.options import AnyEngine
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.scorers.judging.options import KEYS_OF_HOSTS


def engine_of(text: str, engine: AnyEngine, *, max_prompt: int | None = None) -> Engine:
    """Return what answers prompts: a model behind a server (MODEL@URL), or a folder or hub name.

    Args:
        engine: what continues the prompts of a folder or hub name; a server does so by itself.
        max_prompt: tokens; a longer prompt keeps its end. A server gets whole prompts.

    Raises:
        UserError: there is no such model or engine, or no key for a server, or one is to cut prompts.
    """
    served = served_model(text)
    if served is None:
        return read_here(text, engine, max_prompt=max_prompt)
    if max_prompt is not None:
        raise UserError(
            f"max_prompt: {text} is behind a server, which counts tokens by itself; leave it out"
        )
    model, url = served
    key_env = KEYS_OF_HOSTS.get(urlsplit(url).hostname or "")
    return Served(ServedModel(url=url, model=model, key_env=key_env))
