"""Random tokenizers: what the guard accepts swells no text further than it says.

    python tests/faults/swelling.py 2000        # 2000 tokenizers
    python tests/faults/swelling.py 2000 7      # with another seed

Each tokenizer is made of random steps; in some a step is disguised: without its type, under another one, or as a
list, which the library may take for what it was. One that is accepted reads a text of up to 200 random characters,
and its decoder up to 100 random tokens, in a process that may have two gigabytes and a minute. What comes of them is
measured after every part.
"""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import signal
import struct
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import beside  # noqa: F401, it is what lets the others be found
from tokenizers import Tokenizer

from rewarddiff import tokenizer_files
from rewarddiff.errors import UserError

PLACE = Path("random")
MEMORY = 2 << 30
SECONDS = 60

BAD = ("beyond", "ended")
"""How verdicts begin that none may have; the library may give up, which can be caught."""

Step = dict[str, Any]

CHARACTERS = (
    *"aabcdexyz  09.,'`\t\n", *"éİßſŉǰΐΰẗﬃﬄ½¾㍿㌀㎯ℵ", "\ufdfa", "\ufdfb", "\u0301", "\u0323", "\u1f82", "\U0001d160",
    *"中文字한글각ｶﾞ▁Ġ", "\u2126", "\uf900", "\u00ad", "\ufffd", "\u200b", "\x00", "\U0001f600", "\U0002f800",
)  # fmt: skip
"""Those that grow, vanish, compose or are treated apart, and common ones."""

STRINGS = ("", "", "a", " ", "ab", "é", "\u0301", "\ufdfa", "▁", "xy")
REGEXES = (
    "", "x*", ".", "a", "a|", r"\s+", " {2,}", "(?=a)", "(?=.)", "(?<=a)", "[^a]", r"\p{L}", "^", "$", r"\b", r"\B",
    "(a)?", "a{2}?", r"\X", r"(?m:.*)", ".*", ".+", r"\w*?", r"\G",
)  # fmt: skip


def text(rng: random.Random, longest: int) -> str:
    characters = []
    for _ in range(rng.randint(0, longest)):
        point = rng.randrange(0x110000) if rng.random() < 0.2 else 0xD800
        surrogate = 0xD800 <= point < 0xE000
        characters.append(rng.choice(CHARACTERS) if surrogate else chr(point))
    return "".join(characters)


def content(rng: random.Random) -> str:
    return text(rng, rng.choice((0, 1, 1, 2, 5, 60)))


def pattern(rng: random.Random) -> dict[str, str]:
    if rng.random() < 0.5:
        return {"String": rng.choice(STRINGS)}
    return {"Regex": rng.choice(REGEXES)}


def charsmap(replaced: dict[str, str]) -> str:
    """Return a map as SentencePiece has it: every node's children lie in 256 units of their own."""
    units = [0] * 256
    texts = b""

    def children() -> int:
        units.extend([0] * 256)
        return len(units) - 256

    begins = {0: children()}
    units[0] = begins[0] << 10
    for key, value in replaced.items():
        node = 0
        for byte in key.encode():
            child = begins[node] + byte
            if child not in begins:
                begins[child] = children()
                units[child] = byte | (child ^ begins[child]) << 10
            node = child
        units[node] |= 1 << 8
        units[begins[node]] = 1 << 31 | len(texts)
        texts += value.replace("\0", "").encode() + b"\0"
    # The library counts four bytes a unit, whatever is over.
    over = len(replaced) % 4
    blob = struct.pack(f"<I{len(units)}I", 4 * len(units) + over, *units) + texts
    return base64.b64encode(blob).decode()


def normalizer(rng: random.Random) -> Step:
    kind = rng.choice([*tokenizer_files.STEPS["normalizer"], "Replace", "Prepend", "Precompiled"])
    step: Step = {"type": kind}
    if kind == "BertNormalizer":
        for key in ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"):
            step[key] = rng.random() < 0.7
    elif kind == "Strip":
        step |= {"strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    elif kind == "Prepend":
        # Nothing before a text makes the library give up.
        step["prepend"] = content(rng) or "b"
    elif kind == "Replace":
        step |= {"pattern": pattern(rng), "content": content(rng)}
    elif kind == "Precompiled":
        keys = [text(rng, 2).replace("\0", "") for _ in range(rng.randint(0, 6))]
        keys += [rng.choice(CHARACTERS).replace("\0", "") for _ in range(3)]
        step["precompiled_charsmap"] = charsmap({key: content(rng) for key in keys if key})
    elif kind == "Sequence":
        step["normalizers"] = [normalizer(rng) for _ in range(rng.randint(0, 3))]
    return step


def pre_tokenizer(rng: random.Random) -> Step:
    kind = rng.choice([*tokenizer_files.STEPS["pre_tokenizer"], "Metaspace", "ByteLevel", "Split"])
    step: Step = {"type": kind}
    behaviors = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    if kind == "ByteLevel":
        step |= {"add_prefix_space": rng.random() < 0.7, "trim_offsets": True}
        step["use_regex"] = rng.random() < 0.5
    elif kind == "CharDelimiterSplit":
        step["delimiter"] = rng.choice("a ▁")
    elif kind == "Digits":
        step["individual_digits"] = rng.random() < 0.5
    elif kind == "FixedLength":
        step["length"] = rng.randint(1, 5)
    elif kind == "Metaspace":
        scheme = rng.choice(("always", "first", "never"))
        step |= {"replacement": rng.choice("▁x \ufdfa中"), "prepend_scheme": scheme}
        step["split"] = rng.random() < 0.5
    elif kind == "Punctuation":
        step["behavior"] = rng.choice(behaviors)
    elif kind == "Split":
        step |= {"pattern": pattern(rng), "behavior": rng.choice(behaviors)}
        step["invert"] = rng.random() < 0.5
    elif kind == "Sequence":
        step["pretokenizers"] = [pre_tokenizer(rng) for _ in range(rng.randint(0, 3))]
    return step


def post_processor(rng: random.Random) -> Step:
    kind = rng.choice(list(tokenizer_files.STEPS["post_processor"]))
    step: Step = {"type": kind}
    if kind == "ByteLevel":
        step |= {"add_prefix_space": True, "trim_offsets": rng.random() < 0.5, "use_regex": True}
    elif kind in ("BertProcessing", "RobertaProcessing"):
        step |= {"sep": ["a", 1], "cls": ["a", 1]}
        if kind == "RobertaProcessing":
            step |= {"trim_offsets": True, "add_prefix_space": True}
    elif kind == "Sequence":
        step["processors"] = [post_processor(rng) for _ in range(rng.randint(0, 2))]
    else:
        pieces: list[Step] = [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "s", "type_id": 0}},
        ]
        ids = [1] * rng.choice((1, 1, 3, 50))
        step["special_tokens"] = {"s": {"id": "s", "ids": ids, "tokens": ["a"] * len(ids)}}
        step["single"] = rng.choices(pieces, k=rng.choice((1, 2, 3, 20)))
        step["pair"] = [pieces[0], {"Sequence": {"id": "B", "type_id": 1}}]
    return step


def decoder(rng: random.Random) -> Step:
    kind = rng.choice([*tokenizer_files.STEPS["decoder"], "Replace"])
    step: Step = {"type": kind}
    if kind == "BPEDecoder":
        step["suffix"] = rng.choice(STRINGS)
    elif kind == "ByteLevel":
        step |= {"add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    elif kind == "CTC":
        step |= {"pad_token": rng.choice(STRINGS), "word_delimiter_token": rng.choice(STRINGS)}
        step["cleanup"] = rng.random() < 0.5
    elif kind == "Metaspace":
        step |= {"replacement": rng.choice("▁ a"), "prepend_scheme": "always", "split": True}
    elif kind == "Replace":
        step |= {"pattern": pattern(rng), "content": content(rng)}
    elif kind == "Strip":
        step |= {
            "content": rng.choice("a ▁"),
            "start": rng.randint(0, 3),
            "stop": rng.randint(0, 3),
        }
    elif kind == "WordPiece":
        step |= {"prefix": rng.choice(STRINGS), "cleanup": rng.random() < 0.5}
    elif kind == "Sequence":
        step["decoders"] = [decoder(rng) for _ in range(rng.randint(0, 3))]
    return step


def in_turn(rng: random.Random, key: str, make: Any) -> Step | None:
    steps = [make(rng) for _ in range(rng.choice((0, 1, 2, 3, 5)))]
    if len(steps) == 1:
        return steps[0]
    return {"type": "Sequence", key: steps} if steps else None


def tokenizer(rng: random.Random) -> dict[str, Any]:
    added = {"single_word": False, "lstrip": False, "rstrip": False, "special": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{**added, "id": 2, "content": "xy", "normalized": rng.random() < 0.5}],
        "normalizer": in_turn(rng, "normalizers", normalizer),
        "pre_tokenizer": in_turn(rng, "pretokenizers", pre_tokenizer),
        "post_processor": in_turn(rng, "processors", post_processor),
        "decoder": in_turn(rng, "decoders", decoder),
        # A token for every character.
        "model": {"type": "BPE", "vocab": {"[UNK]": 0, "a": 1}, "merges": [], "unk_token": "[UNK]"},
    }  # fmt: skip


def disguise(files: dict[str, Any], rng: random.Random) -> None:
    """Put one step of a tokenizer otherwise than it is saved."""
    key = rng.choice([key for key in tokenizer_files.STEPS if files[key]] or ["normalizer"])
    if not files[key]:
        return
    if rng.random() < 0.5:
        files[key] = disguised(files[key], key, rng)
        return
    for steps in files[key].values():
        if isinstance(steps, list) and steps and "type" in steps[0]:
            steps[0] = disguised(steps[0], key, rng)


def disguised(step: Step, key: str, rng: random.Random) -> Any:
    rest = {name: value for name, value in step.items() if name != "type"}
    how = rng.randrange(3)
    if how == 0:
        return rest
    if how == 1:
        return list(rest.values())
    return {"type": rng.choice([*tokenizer_files.STEPS[key], "Other"]), **rest}


def length(text: str) -> int:
    """Return how long a text is, as the guard counts."""
    return len(unicodedata.normalize("NFKD", text)) + 1


def shares(files: dict[str, Any], rng: random.Random) -> dict[str, float]:
    """Return by part how much of what the guard allows is needed; more than 1 is too much."""
    said = tokenizer_files.swelling_of(PLACE, files)
    loaded = Tokenizer.from_str(json.dumps(files))
    whole = SimpleNamespace(backend_tokenizer=loaded, get_vocab=loaded.get_vocab)
    tokenizer_files.require_loaded(PLACE, whole)
    swelling = tokenizer_files.swelling_of(PLACE, tokenizer_files.loaded_parts(whole))
    growths = swelling.growths
    read = text(rng, 200)
    most = length(read) * growths["normalizer"]
    # A normalizer is at work while a tokenizer is loaded: what its file says has to hold too.
    needed = {"reading of the file": growths["normalizer"] / said.growths["normalizer"]}
    normal = read
    if loaded.normalizer is not None:
        normal = loaded.normalizer.normalize_str(read)
        needed["normalizer"] = length(normal) / most
    most *= growths["pre_tokenizer"]
    if loaded.pre_tokenizer is not None:
        pieces = loaded.pre_tokenizer.pre_tokenize_str(normal)
        needed["pre_tokenizer"] = (sum(len(piece) for piece, _ in pieces) + 1) / most
    most = (most + swelling.added) * growths["post_processor"]
    needed["post_processor"] = len(loaded.encode(read).ids) / most
    if loaded.decoder is not None:
        tokens = [text(rng, rng.choice((1, 5))) for _ in range(rng.randint(1, 100))]
        spoken = loaded.decoder.decode(tokens)
        held = sum(len(token) + 1 for token in tokens)
        needed["decoder"] = len(spoken) / (held * growths["decoder"])
    return needed


def outcome(files: dict[str, Any], seed: str) -> tuple[str, dict[str, float]]:
    """Return a verdict, and by part how much of what is allowed was needed."""
    try:
        tokenizer_files._require_measure(PLACE, files)
    except UserError:
        return "refused", {}
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.alarm(SECONDS)
        try:
            said = json.dumps(shares(files, random.Random(seed)))
        except UserError:
            said = json.dumps("refused")
        except BaseException as error:
            said = json.dumps(f"{type(error).__name__}: {error}"[:300])
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    if status or not said:
        return f"ended by {os.waitstatus_to_exitcode(status)}", {}
    told = json.loads(said)
    if told == "refused":
        return "refused when loaded", {}
    if isinstance(told, str):
        return f"gave up: {told}", {}
    verdict = "held" if max(told.values()) <= 1 else f"beyond: {told}"
    return verdict, told


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    first = sys.argv[2] if len(sys.argv) > 2 else "0"
    verdicts: Counter[str] = Counter()
    most: dict[str, float] = {}
    for number in range(count):
        seed = f"{first}-{number}"
        rng = random.Random(seed)
        files = tokenizer(rng)
        if rng.random() < 0.2:
            disguise(files, rng)
        verdict, needed = outcome(files, seed)
        verdicts[verdict.partition(":")[0]] += 1
        for key, share in needed.items():
            most[key] = max(most.get(key, 0), share)
        if verdict.startswith(BAD):
            print(f"{seed}: {verdict}", flush=True)
    print(dict(verdicts))
    print("of what is allowed at most", {key: f"{share:.0%}" for key, share in most.items()})
    sys.exit(any(word.startswith(BAD) for word in verdicts))


if __name__ == "__main__":
    main()
