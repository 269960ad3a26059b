"""Groups that went by, remembered as hashes: repeats are found, and ids are unique."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

from rewarddiff.data.formats.base import RowError
from rewarddiff.data.hashes import Hashes
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Group, Prompt


class Seen:
    """Remembers the groups that went by: 32 bytes each, on disk, in tables that are half full."""

    def __init__(self) -> None:
        self._orders = Hashes(key=2, width=3)
        self._ids = Hashes()

    def check(self, group: Group) -> None:
        """Raise RowError if the prompt and the set of responses were seen before.

        Of such groups the first stays: what was read before cannot be taken back from a stream.
        """
        content = _content(group)
        order = _number(_order(group))
        first = self._orders.put(_number(content[:8]), _number(content[8:]), order)
        if first is None:
            return
        if first[-1] == order:
            raise RowError(Reason.DUPLICATE, "prompt and responses as in an earlier row")
        only_labelled = group.labels and not group.comparisons
        contrary = "another label" if only_labelled else "another order"
        raise RowError(
            Reason.CONTRADICTORY, f"prompt and responses as in an earlier row, {contrary}"
        )

    def identify(self, group: Group) -> Group:
        """Return the group with an id no other has.

        That is its own, numbered if taken, or else a hash of its content.
        """
        base = group.id or _content(group).hex()[:16]
        id = base
        number = 1
        while self._ids.put(_number(_digest([id]))) is not None:
            number += 1
            id = f"{base}-{number}"
        return group if id == group.id else replace(group, id=id)


def _content(group: Group) -> bytes:
    """Return 16 bytes that depend on the prompt, the set of responses and the subset.

    Parts of a collection may rate different things of the same responses.
    """
    parts = [_prompt_key(group.prompt)]
    if group.subset:
        parts.append(f"part {group.subset}")
    parts += sorted(response.strip() for response in group.responses)
    return _digest(parts)


def _order(group: Group) -> bytes:
    """Return 16 bytes that depend on who won against whom and on labels, not on by how much."""
    texts = [response.strip() for response in group.responses]
    # A response is called by its place among all: of many each stands in many comparisons.
    names = {text: str(place) for place, text in enumerate(sorted(set(texts)))}
    facts = []
    for c in group.known_comparisons():
        pair = [names[texts[c.chosen]], names[texts[c.rejected]]]
        fact = ["=", *sorted(pair)] if c.tie else [">", *pair]
        facts.append("\0".join(fact))
    for i, desirable in group.known_labels():
        sign = "+" if desirable else "-"
        facts.append(f"{sign}\0{names[texts[i]]}")
    return _digest(sorted(facts))


def _prompt_key(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\0".join(f"{m.role}\0{m.content}{m.extras}" for m in prompt)


def _number(hashed: bytes) -> int:
    """Return the first 64 bits of a hash."""
    return int.from_bytes(hashed[:8], "big")


def _digest(parts: Iterable[str]) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
