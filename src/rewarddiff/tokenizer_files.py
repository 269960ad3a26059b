"""What a tokenizer's files say: of which class it is, and how far it swells a text.

A tokenizer is a program too. One that turns every letter into a thousand leaves no memory, and ends
the process where no error can be caught. So its files are looked at before they are loaded, and what
was made of them before it reads a text: it may stand in other files, or be read otherwise.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from rewarddiff.errors import UserError
from rewarddiff.model_files import json_object

CLASS = re.compile(r"\w*(Tokenizer|TokenizerFast|Backend)")
"""How classes of tokenizers are called."""

GROWTH = 1000
"""What one character may become, by all steps in turn.

A text's length is that of its decomposition (Unicode's NFKD), with one more for its end. Of this
length no normal form makes more, so that growths multiply.
"""

FRAME = 1000
"""Tokens that may stand around a text."""

SPOKEN = 10_000
"""Characters that one token may become."""


def _replacing(step: dict[str, Any]) -> float:
    """Return how far a replacement swells a text.

    A regular expression may match between any two characters, as an empty string does.
    """
    replaced = step["pattern"].get("String", "")
    if not replaced:
        return 1 + _length(step["content"])
    return max(1.0, _length(step["content"]) / len(replaced))


def _prepending(step: dict[str, Any]) -> float:
    return 1 + _length(step["prepend"])


def _mapping(step: dict[str, Any]) -> float:
    """Return the length of the longest text that SentencePiece's map puts for a character.

    A map is, encoded in base64, the size of a trie in bytes (four, the lowest first), the trie in
    units of four bytes, and the texts that its values point into, each ended by a zero byte.
    """
    content = base64.b64decode(step["precompiled_charsmap"], validate=True)
    units = int.from_bytes(content[:4], "little") // 4
    texts = content[4 + 4 * units :].decode()
    return max(1, max(map(_length, texts.split("\0"))))


def _framing(step: dict[str, Any]) -> float:
    """Return how often a frame has the same text in it."""
    return max(_copies(step["single"]), _copies(step["pair"]))


def _copies(frame: list[dict[str, Any]]) -> int:
    texts = [piece["Sequence"]["id"] for piece in frame if "Sequence" in piece]
    return max(Counter(texts).values(), default=1)


def _length(text: str) -> int:
    return len(unicodedata.normalize("NFKD", text))


Growth = Callable[[dict[str, Any]], float]

STEPS: dict[str, dict[str, float | Growth]] = {
    "normalizer": {
        "BertNormalizer": 3,  # a space on both sides of Chinese characters
        "ByteLevel": 12,  # up to four bytes, each as a character that decomposes into up to three
        "Lowercase": 1,
        "NFC": 1,
        "NFD": 1,
        "NFKC": 1,
        "NFKD": 1,
        "Nmt": 1,
        "Precompiled": _mapping,
        "Prepend": _prepending,
        "Replace": _replacing,
        "Sequence": 1,
        "Strip": 1,
        "StripAccents": 1,
    },
    "pre_tokenizer": {
        "BertPreTokenizer": 1,
        "ByteLevel": 5,  # up to four bytes, and a space before every piece
        "CharDelimiterSplit": 1,
        "Digits": 1,
        "FixedLength": 1,
        "Metaspace": 2,  # a mark before every piece
        "Punctuation": 1,
        "Sequence": 1,
        "Split": 1,
        "UnicodeScripts": 1,
        "Whitespace": 1,
        "WhitespaceSplit": 1,
    },
    "post_processor": {
        "BertProcessing": 1,
        "ByteLevel": 1,
        "RobertaProcessing": 1,
        "Sequence": 1,
        "TemplateProcessing": _framing,
    },
    "decoder": {
        "BPEDecoder": 2,  # a space for every suffix, which may be the empty string
        "ByteFallback": 1,
        "ByteLevel": 1,
        "CTC": 2,  # a space for every delimiter, which may be the empty string
        "Fuse": 1,
        "Metaspace": 1,
        "Replace": _replacing,
        "Sequence": 1,
        "Strip": 1,
        "WordPiece": 2,  # a space before every token
    },
}
"""The steps that parts of a tokenizer are made of, with how far each swells a text by itself.

A step that is not here is refused.
"""

READING = ("normalizer", "pre_tokenizer", "post_processor")
"""The parts by which a text becomes tokens, in turn; the decoder makes a text of tokens."""


class Swelling(NamedTuple):
    """How far a tokenizer swells texts at most.

    Attributes:
        growths: by part: what it makes of a text is no longer than this many times the text.
        added: tokens around a text.
    """

    growths: dict[str, float]
    added: float


def swelling_of(path: Path, parts: Mapping[str, Any]) -> Swelling:
    """Return how far a tokenizer swells texts at most.

    Args:
        path: where the parts are from, for the message.
        parts: the parts of a tokenizer, as in tokenizer.json.

    Raises:
        UserError: a step that is not in `STEPS`, or that no library has saved.
    """
    growths = {}
    # A frame may stand around every piece of the frame before it.
    framed = 1.0
    for key in STEPS:
        steps = _steps(path, key, parts.get(key))
        try:
            growths[key] = prod((_growth(key, step) for step in steps), start=1.0)
            framed *= prod((1 + _added(step) for step in steps), start=1.0)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: its {key} is not as tokenizers are saved ({error!r}); save it again"
            ) from error
    return Swelling(growths, framed - 1)


def require_tokenizer(folder: Path) -> None:
    """Look at a folder before its tokenizer is loaded.

    Raises:
        UserError: its class is none of a tokenizer, or it would swell texts without measure.
    """
    files = ["tokenizer.json"]
    for name in ("tokenizer_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            config = json_object(path)
            _require_class(path, config.get("tokenizer_class"))
            # Named after versions of transformers, which takes the one that suits it.
            files += config.get("fast_tokenizer_files") or []
    for file in files:
        path = folder / file
        if path.is_file():
            _require_measure(path, json_object(path, _once))


def loaded_parts(tokenizer: Any) -> dict[str, Any]:
    """Return the parts of a loaded tokenizer as the library would save them; none of one in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = {}
    for key in STEPS:
        part = getattr(backend, key, None)
        if part is not None:
            parts[key] = json.loads(part.__getstate__())
    return parts


def require_loaded(folder: Path, tokenizer: Any) -> None:
    """Look at a tokenizer as it was loaded, before it reads a text or speaks.

    Raises:
        UserError: it would swell texts without measure, or has a token that is one.
    """
    swelling = _require_measure(folder, loaded_parts(tokenizer))
    longest = max(map(len, tokenizer.get_vocab()), default=0)
    spoken = longest * swelling.growths["decoder"]
    if spoken > SPOKEN:
        raise UserError(
            f"{folder}: its tokenizer may make {spoken:.3g} characters of one token; "
            "take another tokenizer"
        )


def _require_class(path: Path, chosen: Any) -> None:
    """Refuse a class that is no tokenizer's.

    transformers would load it all the same, whatever the class then reads: a model's its pickles.
    """
    if chosen is not None and not (isinstance(chosen, str) and CLASS.fullmatch(chosen)):
        raise UserError(
            f"{path}: tokenizer_class is {json.dumps(chosen)}, no tokenizer of transformers; "
            "name the class that the tokenizer was saved by, or delete the key"
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; refuse one that readers may take differently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _require_measure(path: Path, parts: Mapping[str, Any]) -> Swelling:
    """Refuse steps, and a frame, that make far more of a text than it is; return what they make of it."""
    swelling = swelling_of(path, parts)
    reading = 1.0
    for key in READING:
        reading *= swelling.growths[key]
        if reading > GROWTH:
            _refuse(path, key, reading)
    if swelling.growths["decoder"] > GROWTH:
        _refuse(path, "decoder", swelling.growths["decoder"])
    if swelling.added > FRAME:
        raise UserError(
            f"{path}: its post_processor may put more than {FRAME:,} tokens around a text; "
            "take another tokenizer"
        )
    return swelling


def _refuse(path: Path, key: str, growth: float) -> None:
    raise UserError(
        f"{path}: its {key} may make {growth:.3g} characters of one; take another tokenizer"
    )


def _steps(path: Path, key: str, part: Any) -> list[dict[str, Any]]:
    """Return the steps of a part, sequences and what they are made of; refuse any other.

    The library takes a step without a type, or as a list, for whatever it may be.
    """
    steps = []
    rest = [] if part is None else [part]
    while rest:
        step = rest.pop()
        kind = step.get("type") if isinstance(step, dict) else None
        if not isinstance(kind, str) or kind not in STEPS[key]:
            raise UserError(
                f"{path}: its {key} has a step of type {json.dumps(kind)}, of which it is not known how "
                f"far it swells a text; known ones are {', '.join(sorted(STEPS[key]))}"
            )
        steps.append(step)
        if kind == "Sequence":
            for value in step.values():
                rest += value if isinstance(value, list) else []
    return steps


def _growth(key: str, step: dict[str, Any]) -> float:
    growth = STEPS[key][step["type"]]
    return growth(step) if callable(growth) else growth


def _added(step: dict[str, Any]) -> int:
    """Return how many tokens a step puts around one text, or two."""
    if step["type"] in ("BertProcessing", "RobertaProcessing"):
        return 4
    if step["type"] != "TemplateProcessing":
        return 0
    ids = {name: len(token["ids"]) for name, token in step["special_tokens"].items()}
    frame = [*step["single"], *step["pair"]]
    names = [piece["SpecialToken"]["id"] for piece in frame if "SpecialToken" in piece]
    return sum(ids.get(name, 1) for name in names)
