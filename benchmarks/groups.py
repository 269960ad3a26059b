"""Groups of responses to one prompt, of the size the paper measures with (arXiv 2408.09385, its
cost table).

Six responses; prompts of 164 tokens and responses of 145 in the mean. `equal`: all of exactly these
lengths, so that a padded row holds no padding but what labels and end tokens make. `hh`: spread as
HH's are (`rows`), each length drawn by itself; the responses of one real group resemble each other
more, so real data lies between the two.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from benchmarks import rows
from benchmarks.rows import Quantiles
from rewarddiff.records import Group

Lengths = Literal["equal", "hh"]

RESPONSES = 6
PROMPT, RESPONSE = 164, 145
HH_PROMPT, HH_RESPONSE = 125, 45
"""Means of the quantile tables of `rows`."""


def make_groups(n: int, lengths: Lengths, seed: int = 0) -> list[Group]:
    """`n` groups of random words with scores in random order; the same for the same arguments
    everywhere."""
    rng = random.Random(seed)
    if lengths == "equal":
        prompts, responses = [PROMPT] * n, [RESPONSE] * (n * RESPONSES)
    else:
        prompts = rows.lengths(_scaled(rows.PROMPT_TOKENS, PROMPT / HH_PROMPT), n, rng)
        responses = rows.lengths(
            _scaled(rows.RESPONSE_TOKENS, RESPONSE / HH_RESPONSE), n * RESPONSES, rng
        )
    groups = []
    for i, prompt in enumerate(prompts):
        own = responses[i * RESPONSES : (i + 1) * RESPONSES]
        texts = tuple(rows.text(length, rng) for length in own)
        scores = tuple(map(float, rng.sample(range(RESPONSES), RESPONSES)))
        groups.append(Group(str(i), rows.question(prompt, rng), texts, scores))
    return groups


def _scaled(table: Quantiles, factor: float) -> Quantiles:
    return tuple((probability, factor * tokens) for probability, tokens in table)


def write_groups(groups: Iterable[Group], path: Path) -> None:
    """JSON Lines with the columns prompt, responses, scores."""
    lines = ({"prompt": g.prompt, "responses": g.responses, "scores": g.scores} for g in groups)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_groups(path: Path) -> list[Group]:
    found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Group(str(i), line["prompt"], tuple(line["responses"]), tuple(line["scores"]))
        for i, line in enumerate(found)
    ]
