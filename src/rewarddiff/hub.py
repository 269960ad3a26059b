"""The Hugging Face hub, asked once whether it has a model or a dataset, without long waits."""

from __future__ import annotations

from typing import Literal

HUB_SECONDS = 3.0
"""How long the hub may take to say whether it has something."""


def hub_trouble(name: str, kind: Literal["model", "dataset"]) -> str | None:
    """Ask the hub once whether it has a model or dataset, and return why it cannot be had; None where it can.

    The hub's own functions try for half a minute before they say that there is no connection. A hub that
    is there and slow may have it.
    """
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return "the hub was not asked, since HF_HUB_OFFLINE is set"
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=HUB_SECONDS)
    except errors.HFValidationError:
        return "it is no name for the hub either"
    except errors.GatedRepoError:
        return (
            "the hub gives it only to those it knows: accept its terms there, and run hf auth login"
        )
    except errors.RepositoryNotFoundError:
        return f"the hub has no such {kind} (for a private one, run hf auth login)"
    except Exception as error:  # of the hub, of its client or of the system, by what goes wrong
        name_of_error = type(error).__name__
        if name_of_error == "ReadTimeout":  # whichever client the hub's library has
            return None
        return f"the hub cannot be reached ({name_of_error})"
    return None
