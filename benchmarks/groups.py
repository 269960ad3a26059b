"""Groups of responses to one prompt, of the size in the paper's cost table (arXiv 2408.09385).

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
PROMPT = 164
RESPONSE = 145
HH_PROMPT = 125
"""Mean of `rows.PROMPT_TOKENS`."""
HH_RESPONSE = 45
"""Mean of `rows.RESPONSE_TOKENS`."""


def make_groups(n: int, lengths: Lengths) -> list[Group]:
    """Make `n` groups of random words with scores in random order, everywhere the same."""
    rng = random.Random(0)
    if lengths == "equal":
        prompts = [PROMPT] * n
        responses = [RESPONSE] * (n * RESPONSES)
    else:
        prompt_table = _scaled(rows.PROMPT_TOKENS, PROMPT / HH_PROMPT)
        response_table = _scaled(rows.RESPONSE_TOKENS, RESPONSE / HH_RESPONSE)
        prompts = rows.lengths(prompt_table, n, rng)
        responses = rows.lengths(response_table, n * RESPONSES, rng)
    groups = []
    for i, prompt in enumerate(prompts):
        sizes = responses[i * RESPONSES : (i + 1) * RESPONSES]
        texts = tuple(rows.text(size, rng) for size in sizes)
        scores = tuple(map(float, rng.sample(range(RESPONSES), RESPONSES)))
        groups.append(Group(str(i), rows.question(prompt, rng), texts, scores))
    return groups


def _scaled(table: Quantiles, factor: float) -> Quantiles:
    return tuple((probability, factor * tokens) for probability, tokens in table)


def write_groups(groups: Iterable[Group], path: Path) -> None:
    """Write JSON Lines with the columns prompt, responses, scores."""
    with path.open("w", encoding="utf-8") as file:
        for group in groups:
            row = {"prompt": group.prompt, "responses": group.responses, "scores": group.scores}
            file.write(json.dumps(row) + "\n")


def read_groups(path: Path) -> list[Group]:
    """Read what `write_groups` wrote."""
    groups = []
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        groups.append(Group(str(i), row["prompt"], tuple(row["responses"]), tuple(row["scores"])))
    return groups
