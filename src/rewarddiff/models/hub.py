"""Models of the Hugging Face hub: downloaded once, and asked for without long waits."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rewarddiff import model_files
from rewarddiff.hub import hub_trouble

DOWNLOADED = [*(f"*{kind}" for kind in model_files.READ_ENDINGS), "README.md"]
"""What is taken of a model on the hub: no pickles, and no code; its card tells the licence."""
NOT_DOWNLOADED = ["*/*.safetensors", "*/*.json", "*/*.txt", "consolidated*"]
"""What is left there: the same weights for other programs."""


class NotOnHub(Exception):
    """Why a model cannot be had from the hub."""


@lru_cache(maxsize=64)
def snapshot(name: str) -> Path:
    """Return the folder of a model of the hub, downloaded where the hub's cache does not hold it.

    Raises:
        NotOnHub: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    trouble = hub_trouble(name, "model")
    try:
        folder = snapshot_download(
            name,
            allow_patterns=DOWNLOADED,
            ignore_patterns=NOT_DOWNLOADED,
            local_files_only=trouble is not None,
        )
    except Exception as error:
        if trouble is None:
            trouble = f"the hub did not give it ({type(error).__name__})"
        raise NotOnHub(trouble) from error
    return Path(folder)
