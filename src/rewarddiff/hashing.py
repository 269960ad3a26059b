"""Hashes: a name for content, and numbers drawn by nothing but a text.

All of them are BLAKE2b's, so that they are the same on every machine and in every process.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def digest(chunks: Iterable[bytes]) -> str:
    """Return the 128-bit hash of chunks put one after the other: 32 hexadecimal digits.

    >>> digest([b"ab", b"c"]) == digest([b"abc"])
    True
    """
    hashed = blake2b(digest_size=16)
    for chunk in chunks:
        hashed.update(chunk)
    return hashed.hexdigest()


def number(text: str, bits: int = 64) -> int:
    """Return a whole number below 2**bits, drawn by the text; bits is a multiple of 8, at most 512.

    >>> f"{number('0/a prompt'):016x}", number("0/a prompt", bits=8)
    ('2344f5c820e8dae0', 110)
    """
    hashed = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=bits // 8)
    return int.from_bytes(hashed.digest(), "big")


def uniform(text: str) -> float:
    """Return a number from 0 to 1, drawn by the text, as from a uniform distribution.

    A seed and a place make the text: whatever else is drawn, and in whatever order, does not matter.
    """
    return number(text) / 2**64
