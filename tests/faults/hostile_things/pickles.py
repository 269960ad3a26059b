"""Pickles by every name that a library might open, and arrays that hold them or are absurd."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
from tiny import edit

from hostile_things.making import Malice, Stock, Things, malice

MODELS = Things()

BESIDE = (
    "pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "adapter_model.bin",
    "consolidated.00.pth", "model.ckpt", "vocab.pkl", "random_states_0.pkl",
)  # fmt: skip
"""Pickles that lie beside good weights."""


@MODELS.model
def pickled_weights(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    malice(folder / "pytorch_model.bin", stock)


@MODELS.model
def pickled_weights_beside(folder: Path, stock: Stock) -> None:
    for name in BESIDE:
        malice(folder / name, stock)


@MODELS.model
def pickle_by_the_name_of_safetensors(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    malice(folder / "model.safetensors", stock)


@MODELS.model
def zip_of_torch_by_the_name_of_safetensors(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malice(stock.ran)))


@MODELS.model
def index_of_pickles(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    malice(folder / "weights.bin", stock)
    weights = {"lm_head.weight": "weights.bin"}
    edit(folder / "model.safetensors.index.json", metadata={}, weight_map=weights)


@MODELS.model
def index_of_a_pickled_model(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    malice(folder / "weights.bin", stock)
    weights = {"lm_head.weight": "weights.bin"}
    edit(folder / "pytorch_model.bin.index.json", metadata={}, weight_map=weights)


@MODELS.model
def weights_named_by_the_configuration(folder: Path, stock: Stock) -> None:
    malice(folder / "evil.bin", stock)
    edit(folder / "config.json", transformers_weights="evil.bin")


@MODELS.model
def pickled_value_head(folder: Path, stock: Stock) -> None:
    malice(folder / "value_head.bin", stock)


@MODELS.model
def link_to_a_pickle(folder: Path, stock: Stock) -> None:
    (folder / "model.safetensors").unlink()
    # By a name that says nothing: it may be hashed, as any file.
    malice(stock.place / "evil.weights", stock)
    (folder / "model.safetensors").symlink_to(stock.place / "evil.weights")


@MODELS.scorer
def array_of_objects(folder: Path, stock: Stock) -> None:
    np.save(folder / "rewarddiff_prompts.npy", np.array([Malice(stock.ran)]), allow_pickle=True)


@MODELS.scorer
def archive_of_arrays_of_objects(folder: Path, stock: Stock) -> None:
    np.savez(folder / "x.npz", a=np.array([Malice(stock.ran)]))
    (folder / "x.npz").rename(folder / "rewarddiff_prompts.npy")


@MODELS.scorer
def pickle_by_the_name_of_an_array(folder: Path, stock: Stock) -> None:
    malice(folder / "rewarddiff_prompts.npy", stock)


@MODELS.scorer
def absurd_array(folder: Path, stock: Stock) -> None:
    head = b"{'descr': '<u8', 'fortran_order': False, 'shape': (9000000000000,), }"
    head += b" " * (118 - len(head)) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    (folder / "rewarddiff_prompts.npy").write_bytes(content)
