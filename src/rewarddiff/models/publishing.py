"""A saved model put on the Hugging Face hub, with the hub's own login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff import model_files
from rewarddiff.errors import UserError
from rewarddiff.models.cards import README

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def require_hub(name: str) -> None:
    """See before a training that its model can be put on the hub under this name.

    Raises:
        UserError: it is no name for the hub, nobody is logged in, or the hub cannot be reached.
    """
    with _explained(name) as api:
        api.whoami()
        # What is no name is refused before the hub is asked; one that is not there yet is fine.
        api.repo_exists(name)


def publish(folder: Path, name: str, *, private: bool = False) -> str:
    """Put a model's files, and nothing else that lies in its folder, on the hub; return its address.

    Args:
        private: of a repository that is made; one that is there stays as it is.

    Raises:
        UserError: the hub does not take them.
    """
    names = [file.name for file in sorted(folder.iterdir()) if _is_published(file)]
    with _explained(name) as api:
        place = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=place.repo_id,
            folder_path=folder,
            allow_patterns=names,
            commit_message="Model trained by rewarddiff",
        )
    return str(place)


def _is_published(file: Path) -> bool:
    return file.is_file() and (model_files.is_saved(file.name) or file.name == README)


@contextmanager
def _explained(name: str) -> Iterator[HfApi]:
    """Give the hub, and turn what goes wrong there into one line."""
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{name}: not put on the hub, since HF_HUB_OFFLINE is set; unset it")
    try:
        yield HfApi()
    except errors.HFValidationError as error:
        raise UserError(f"{name}: no name for the hub; give one as you/model") from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"{name}: nobody is logged in to the hub; run hf auth login") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        mend = "see the hub's status, and try again"
        if status in (401, 403):
            mend = "run hf auth login with a token that may write there"
        raise UserError(f"{name}: the hub refuses it (status {status}); {mend}") from error
    except Exception as error:  # of the hub, of its HTTP library or of the system
        raise UserError(
            f"{name}: the hub cannot be reached ({type(error).__name__}); try again later"
        ) from error
