"""Weights whose header lies, and indices of weights that lie elsewhere; quantised ones too."""

from __future__ import annotations

import struct
from pathlib import Path

from tiny import edit

from hostile_things.making import Make, Stock, Things, changed

MODELS = Things()


def with_header(header: bytes, size: int | None = None) -> Make:
    """Return what makes a model whose weights begin with a header, and with a size that it is said to have."""
    length = struct.pack("<Q", len(header) if size is None else size)
    content = length + header + bytes(64)
    return changed(lambda folder, _: (folder / "model.safetensors").write_bytes(content))


def tensor(start: int, end: int, shape: str = "[8]") -> str:
    """Return what a header says of a tensor."""
    return f'{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


MODELS |= {
    "header_beyond_the_file": with_header(b"{}", 2**40),
    "header_beyond_all_numbers": with_header(b"{}", 2**64 - 1),
    "header_of_100_MB": with_header(b"{" + b" " * 100_000_000 + b"}"),
    "header_of_many_tensors": with_header(
        ("{" + ",".join(f'"t{i}":{tensor(0, 0, "[0]")}' for i in range(200_000)) + "}").encode()
    ),
    "header_that_is_no_json": with_header(b"{'a': __import__('os').system('x')}"),
    "header_nested_deeply": with_header(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "tensors_that_overlap": with_header(f'{{"a":{tensor(0, 32)},"b":{tensor(16, 48)}}}'.encode()),
    "tensors_of_one_name": with_header(f'{{"a":{tensor(0, 32)},"a":{tensor(32, 64)}}}'.encode()),
    "tensor_beyond_the_file": with_header(f'{{"a":{tensor(0, 2**40, "[274877906944]")}}}'.encode()),
    "tensor_backwards": with_header(f'{{"a":{tensor(32, 0)}}}'.encode()),
    "tensor_of_an_absurd_shape": with_header(f'{{"a":{tensor(0, 32, "[4294967296,4294967296]")}}}'.encode()),
}  # fmt: skip


def index(folder: Path, files: dict[str, str]) -> None:
    """Say in which files weights lie."""
    edit(folder / "model.safetensors.index.json", metadata={}, weight_map=files)


@MODELS.model
def index_of_files_above(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index(folder, {"lm_head.weight": "../other.safetensors"})


@MODELS.model
def index_of_an_absolute_path(folder: Path, stock: Stock) -> None:
    other = (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index(folder, {"lm_head.weight": str(other)})


@MODELS.model
def index_of_windows_paths(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    index(folder, {"a": "..\\..\\evil.safetensors", "b": "C:\\evil.safetensors"})


def gguf(kind: int) -> bytes:
    """Return a file of GGUF whose header lies."""
    head = b"GGUF" + struct.pack("<I", 3)
    if kind == 0:
        return head + struct.pack("<QQ", 2**62, 2**62)
    if kind == 1:
        return head + struct.pack("<QQQ", 0, 1, 2**62) + b"x" * 64
    architecture = b"general.architecture"
    entry = struct.pack("<Q", len(architecture)) + architecture + struct.pack("<IQ", 8, 4) + b"evil"
    return head + struct.pack("<QQ", 0, 1) + entry
