"""Tokenizers that swell texts, never end, or read files that are not theirs."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from pathlib import Path
from typing import Any

from tiny import edit

from hostile_things.making import Make, Stock, Things, edited, malice

MODELS = Things()


def with_tokenizer(**changes: Any) -> Make:
    """Return what makes a model whose tokenizer has other parts."""
    return edited("tokenizer.json", **changes)


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def charsmap(text: str) -> dict[str, Any]:
    """Return a map of characters, as SentencePiece has them, that turns every "e" into a text."""
    units = [0] * 512
    units[0] = 256 << 10  # the children of the root begin at 256
    units[256 ^ ord("e")] = ord("e") | 1 << 8 | 1 << 10  # has a value, which is one unit from here
    units[256 ^ ord("e") ^ 1] = 1 << 31  # the value: the first text
    content = struct.pack("<I512I", 4 * 512, *units) + text.encode() + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def metaspace(mark: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": False}


def in_turn(of: str, *steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def copying(kind: str = "TemplateProcessing") -> dict[str, Any]:
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": kind, "single": [text] * 500_000, "pair": [], "special_tokens": {}}


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
LETTERS = {**SPLIT, "pattern": {"Regex": "."}}
BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
BERT = {"type": "BertProcessing", "sep": ["<bos>", 256], "cls": ["<bos>", 256]}

MODELS |= {
    "tokenizer_of_a_map_that_swells_texts": with_tokenizer(normalizer=charsmap("b" * 1_000_000)),
    "tokenizer_of_a_map_of_nothing": with_tokenizer(
        normalizer={"type": "Precompiled", "precompiled_charsmap": ""}
    ),
    "tokenizer_of_maps_that_decompose": with_tokenizer(
        normalizer=in_turn("normalizers", *[charsmap("e" * 10), charsmap("\ufdfa" * 300), {"type": "NFKD"}])
    ),
    "tokenizer_of_empty_matches": with_tokenizer(
        normalizer=in_turn("normalizers", *[replaced({"Regex": "x*"}, "b")] * 40)
    ),
    "tokenizer_of_matches_of_nothing": with_tokenizer(
        normalizer=in_turn("normalizers", *[replaced({"String": ""}, "b")] * 40)
    ),
    "tokenizer_without_a_type": with_tokenizer(normalizer={"pattern": {"Regex": "."}, "content": "b" * 2_000_000}),
    "tokenizer_of_another_type": with_tokenizer(
        normalizer={**replaced({"Regex": "."}, "b" * 2_000_000), "type": "Other"}
    ),
    "tokenizer_that_is_a_list": with_tokenizer(normalizer=[{"Regex": "."}, "b" * 2_000_000]),
    "tokenizer_of_lists": with_tokenizer(
        normalizer=in_turn("normalizers", [{"Regex": "."}, "b" * 2_000_000])
    ),
    "tokenizer_of_marks_of_marks": with_tokenizer(
        pre_tokenizer=in_turn("pretokenizers", *[LETTERS, metaspace("x"), LETTERS, metaspace("y")] * 20)
    ),
    "tokenizer_of_bytes_of_bytes": with_tokenizer(pre_tokenizer=in_turn("pretokenizers", *[BYTES] * 40)),
    "tokenizer_that_copies_texts": with_tokenizer(post_processor=copying()),
    "tokenizer_that_copies_texts_by_another_type": with_tokenizer(post_processor=copying("RobertaProcessing")),
    "tokenizer_of_frames_of_frames": with_tokenizer(post_processor=in_turn("processors", *[BERT] * 500_000)),
    "tokenizer_whose_parts_swell_together": with_tokenizer(
        normalizer=replaced({"Regex": "."}, "b" * 900),
        pre_tokenizer=in_turn("pretokenizers", *[LETTERS, metaspace("x"), LETTERS, metaspace("y")] * 4),
        post_processor={**copying(), "single": copying()["single"][:900]},
    ),
    "tokenizer_with_a_regex_that_never_ends": with_tokenizer(
        pre_tokenizer={**SPLIT, "pattern": {"Regex": r"(\w+\s?)+$(?<=\d)"}}
    ),
    "tokenizer_with_nested_repeats": with_tokenizer(
        pre_tokenizer={**SPLIT, "pattern": {"Regex": r"((a|[^x])*)*y{5}"}}
    ),
    "tokenizer_that_doubles_texts": with_tokenizer(
        normalizer={
            "type": "Sequence",
            "normalizers": [replaced({"Regex": "."}, "ab") for _ in range(40)],
        }
    ),
    "tokenizer_that_swells_texts": with_tokenizer(normalizer=replaced({"Regex": "."}, "a" * 2_000_000)),
    "tokenizer_with_a_huge_frame": with_tokenizer(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}] * 500_000
            + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [256] * 100, "tokens": ["<bos>"] * 100}},
        }
    ),
    "tokenizer_with_a_huge_number": with_tokenizer(
        added_tokens=[
            {"id": 2**31, "content": "<x>", "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
        ]
    ),
    "tokenizer_of_an_unknown_type": with_tokenizer(model={"type": "evil.Model", "vocab": {}}),
    "tokenizer_that_cuts_and_pads": with_tokenizer(
        padding={"strategy": {"Fixed": 2_000_000_000}, "direction": "Right", "pad_to_multiple_of": None,
                 "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
    ),
}  # fmt: skip


@MODELS.model
def tokenizer_named_after_a_version(folder: Path, stock: Stock) -> None:
    """transformers takes the file that its configuration names."""
    (folder / "below").mkdir()
    other = Path(shutil.copy(folder / "tokenizer.json", folder / "below/tokenizer.4.0.json"))
    edit(other, normalizer=replaced({"Regex": "."}, "b" * 2_000_000))
    edit(folder / "tokenizer_config.json", fast_tokenizer_files=["below/tokenizer.4.0.json"])


@MODELS.model
def tokenizer_of_books(folder: Path, stock: Stock) -> None:
    """The model need but say a token of ten million letters a few times."""
    path = folder / "tokenizer.json"
    added = json.loads(path.read_text())["added_tokens"]
    token = {**added[0], "id": len(added) + 256, "content": "b" * 10_000_000, "special": False}
    edit(path, added_tokens=[*added, token])


@MODELS.model
def tokenizer_with_a_type_twice(folder: Path, stock: Stock) -> None:
    path = folder / "tokenizer.json"
    edit(path, normalizer={**replaced({"Regex": "."}, "b" * 2_000_000), "type": "Strip"})
    path.write_text(path.read_text().replace('"type": "Strip"', '"type": "Strip", "type": "Strip"'))


@MODELS.model
def tokenizer_nested_deeply(folder: Path, stock: Stock) -> None:
    (folder / "tokenizer.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


@MODELS.model
def tokenizer_of_garbage_alone(folder: Path, stock: Stock) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(bytes(range(256)) * 64)
    (folder / "spiece.model").write_bytes(b"\xff" * 4096)
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


@MODELS.model
def tokenizer_with_a_pickled_vocabulary(folder: Path, stock: Stock) -> None:
    (folder / "tokenizer.json").unlink()
    malice(folder / "vocab.pkl", stock)
    malice(folder / "vocab.bin", stock)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="TransfoXLTokenizer",
        vocab_file=str(folder / "vocab.pkl"),
        pretrained_vocab_file=str(folder / "vocab.pkl"),
    )


@MODELS.model
def tokenizer_files_elsewhere(folder: Path, stock: Stock) -> None:
    malice(stock.place / "evil.bin", stock)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_file="../evil.bin",
        vocab_file="/etc/passwd",
        name_or_path="../../evil",
        added_tokens_decoder={"1000000000": {"content": "<x>", "special": True}},
    )
