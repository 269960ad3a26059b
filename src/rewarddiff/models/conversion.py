"""The quantised model of the package index, made an ordinary float32 folder once."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from rewarddiff import files, model_files
from rewarddiff.errors import UserError
from rewarddiff.models.reading import quiet, read

logger = logging.getLogger(__name__)


def dequantised(gguf: Path, target: Path, hub: str) -> None:
    """Convert the model in a GGUF file into the folder `target`, whole or not at all.

    Args:
        hub: the name that the model has on the hub, for its configuration.
    """
    if importlib.util.find_spec("gguf") is None:
        raise UserError(
            f"model '{target.name}': reading {gguf.name} needs the package gguf: "
            "pip install 'rewarddiff[demo]'"
        )
    logger.info("converting %s once, into %s (about 20 seconds)", gguf.name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.name}-", ignore_cleanup_errors=True
        ) as scratch:
            converted = Path(scratch) / "model"
            convert(gguf, converted, hub)
            _move(converted, target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot keep the converted model ({error.strerror or error}); "
            "set REWARDDIFF_CACHE to a folder that can be written, with 1 GB free"
        ) from error


def convert(gguf: Path, target: Path, hub: str) -> None:
    """Save the model and the tokenizer of a GGUF file as transformers does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The reader of GGUF draws a bar on stderr that cannot be switched off.
    with quiet(), redirect_stderr(StringIO()):
        tokenizer = read(AutoTokenizer, gguf.parent, gguf_file=gguf.name)
        model = read(AutoModelForCausalLM, gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        config = model.config
        # A model that still calls itself quantised is not saved.
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model.hf_quantizer = None
        # Its name would be this machine's path.
        vars(config).pop("_model_name_or_path", None)
        config.name_or_path = hub
        config.pad_token_id = tokenizer.pad_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = config.max_position_embeddings
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _move(converted: Path, target: Path) -> None:
    files.sync_all(converted)
    try:
        converted.rename(target)
        files.sync(target.parent)
    except OSError:
        # Another process was faster; half a model in its place is an error.
        model_files.require_model(target, mend="or remove it")
