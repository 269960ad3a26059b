"""What answers prompts, by the text that names it, or by the judge that it is."""

from __future__ import annotations

from urllib.parse import urlsplit

from rewarddiff.errors import UserError
from rewarddiff.sampling import Engine, SamplingConfig
from rewarddiff.sampling.engines import read_here
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.scorers.judging.options import KEYS_OF_HOSTS, Judge
from rewarddiff.scorers.protocol import Scorer


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


def engine_of_judge(name: str, scorer: Scorer) -> tuple[Engine, SamplingConfig]:
    """Return the language model behind a judge, and how it writes.

    Raises:
        UserError: the judge is no language model.
    """
    options = getattr(scorer, "options", None)
    if not isinstance(options, Judge):
        raise UserError(
            f"{name}: reads no single response; of attacks a language model judges: MODEL@URL, or the "
            "folder of one"
        )
    config = SamplingConfig(
        max_new_tokens=options.max_tokens,
        temperature=options.temperature,
        stop=(),
        batch_size=options.concurrency,
        seed=options.seed,
    )
    if options.local is not None:
        return read_here(options.local), config
    assert options.url is not None
    assert options.model is not None
    served = ServedModel(
        url=options.url,
        model=options.model,
        key_env=options.key_variable,
        concurrency=options.concurrency,
        timeout=options.timeout,
        attempts=options.attempts,
    )
    return Served(served), config
