"""Preference pairs with the length statistics of Anthropic's HH data, made or real.

Made rows are the default, so that figures repeat where the real data is absent. Lengths come from
quantile tables, one draw per stratum, so that even 32 rows have the statistics of the whole:
prompts with mean 125, median 98 and 95 % quantile 349 tokens, responses with 45, 31 and 130. The
lengths of a prompt and of its two responses are independent (in HH the two responses correlate by
0.3 in log length, prompts and responses hardly).
"""

from __future__ import annotations

import gzip
import json
import os
import random
from bisect import bisect_left
from collections.abc import Iterable
from math import exp, log
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A labelled pair, plain text. The prompt ends where the assistant's answer begins."""

    prompt: str
    chosen: str
    rejected: str


Quantiles = tuple[tuple[float, float], ...]
"""(probability, tokens), rising in both; log-linear in between."""

PROMPT_TOKENS: Quantiles = (
    (0, 12), (0.1, 22), (0.25, 40), (0.5, 98), (0.75, 167), (0.9, 264), (0.95, 349), (1, 600),
)  # fmt: skip
RESPONSE_TOKENS: Quantiles = (
    (0, 2), (0.1, 8), (0.25, 16), (0.5, 31), (0.75, 58), (0.9, 97), (0.95, 130), (1, 260),
)  # fmt: skip

TURN = "\n\nHuman:"
ANSWER = "\n\nAssistant:"
MARKUP_TOKENS = 9
"""Tokens of TURN and ANSWER together under SmolLM2's tokenizer: 4 and 5."""

# Each word with a space before it is one token under SmolLM2's tokenizer, and most others.
WORDS = """
    the of and to in is it you that he was for on are with as his they at be this have from or one had by word but
    not what all were we when your can said there use an each which she do how their if will up other about out many
    then them these so some her would make like him into time has look two more write go see number no way could
    people my than first water been call who oil its now find long down day did get come made may part over new
    sound take only little work know place year live me back give most very after thing our just name good sentence
    man think say great where help through much before line right too mean old any same tell boy follow came want
    show also around form three small set put end does another well large must big even such because turn here why
    ask went men read need land different home us move try kind hand picture again change off play spell air away
    animal house point page letter mother answer found study still learn should world
""".split()  # noqa: SIM905 (a list literal would be 200 lines)


def quantile(table: Quantiles, probability: float) -> int:
    """Return the length at `probability` in [0, 1], tokens, rounded."""
    right = max(1, bisect_left(table, (probability,)))
    (p0, x0), (p1, x1) = table[right - 1], table[right]
    share = (probability - p0) / (p1 - p0)
    return round(exp(log(x0) + share * (log(x1) - log(x0))))


def lengths(table: Quantiles, n: int, rng: random.Random) -> list[int]:
    """Draw `n` lengths, one from the middle of each of n equal strata, shuffled."""
    drawn = [quantile(table, (i + 0.5) / n) for i in range(n)]
    rng.shuffle(drawn)
    return drawn


def text(tokens: int, rng: random.Random) -> str:
    """Return `tokens` tokens: words, each with a space before it, and a full stop."""
    words = [f" {rng.choice(WORDS)}" for _ in range(max(1, tokens - 1))]
    return "".join(words) + "."


def question(tokens: int, rng: random.Random) -> str:
    """Return a prompt of `tokens` tokens that asks for an answer."""
    return f"{TURN}{text(tokens - MARKUP_TOKENS, rng)}{ANSWER}"


def make_rows(n: int, seed: int = 0) -> list[Row]:
    """Make `n` pairs of random words with HH's length statistics, everywhere the same."""
    rng = random.Random(seed)
    prompts = lengths(PROMPT_TOKENS, n, rng)
    responses = lengths(RESPONSE_TOKENS, 2 * n, rng)
    return [
        Row(question(prompt, rng), text(chosen, rng), text(rejected, rng))
        for prompt, chosen, rejected in zip(prompts, responses[:n], responses[n:], strict=True)
    ]


def hh_rows(n: int) -> list[Row]:
    """Draw `n` random pairs of HH's helpful-base dialogues, split at the last assistant turn.

    They are in the optional folder of real data: REWARDDIFF_SHARED, or `shared` beside the root.

    Raises:
        FileNotFoundError: the real data is not there; use made rows.
    """
    beside = Path(__file__).resolve().parents[2] / "shared"
    shared = Path(os.environ.get("REWARDDIFF_SHARED") or beside)
    pairs = []
    with gzip.open(
        shared / "data" / "hh" / "helpful-base.jsonl.gz", "rt", encoding="utf-8"
    ) as file:
        for line in file:
            pair = split_dialogues(**json.loads(line))
            if pair is not None:
                pairs.append(pair)
    return random.Random(0).sample(pairs, n)


def split_dialogues(chosen: str, rejected: str) -> Row | None:
    """Return one pair from two whole dialogues.

    None where the two differ before the last answer, or have no two different answers.
    """
    start = chosen.rfind(ANSWER) + len(ANSWER)
    prompt = chosen[:start]
    row = Row(prompt, chosen[start:], rejected[start:])
    is_pair = rejected.startswith(prompt) and row.chosen != row.rejected
    if is_pair and row.chosen.strip() and row.rejected.strip():
        return row
    return None


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write JSON Lines with the columns prompt, chosen, rejected."""
    lines = [json.dumps(row._asdict()) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
