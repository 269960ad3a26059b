"""Models of the Hugging Face hub: downloaded once, and asked for without long waits."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rewarddiff import model_files

DOWNLOADED = [*(f"*{kind}" for kind in model_files.READ_ENDINGS), "README.md"]
"""What is taken of a model on the hub: no pickles, and no code; its card tells the licence."""
NOT_DOWNLOADED = ["*/*.safetensors", "*/*.json", "*/*.txt", "consolidated*"]
"""What is left there: the same weights for other programs."""
HUB_SECONDS = 3.0
"""How long the hub may take to say whether it has a model."""


class NotOnHub(Exception):
    """Why a model cannot be had from the hub."""


@lru_cache(maxsize=64)
def snapshot(name: str) -> Path:
    """Return the folder of a model of the hub, downloaded where the hub's cache does not hold it.

    Raises:
        NotOnHub: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    trouble = _trouble(name)
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


def _trouble(name: str) -> str | None:
    """Ask the hub once whether it has a model, and return why it cannot be had; None where it can.

    The hub's own functions try for half a minute before they say that there is no connection.
    """
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return "the hub was not asked, since HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(name, timeout=HUB_SECONDS)
    except errors.HFValidationError:
        return "it is no name for the hub either"
    except errors.GatedRepoError:
        return (
            "the hub gives it only to those it knows: accept its terms there, and run hf auth login"
        )
    except errors.RepositoryNotFoundError:
        return "the hub has no such model (for a private one, run hf auth login)"
    except Exception as error:  # of the hub, of httpx or of the system, by what goes wrong
        return f"the hub cannot be reached ({type(error).__name__})"
    return None
