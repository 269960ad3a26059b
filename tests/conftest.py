"""Fixtures that all tests may use. Nothing here reaches for a network."""

from __future__ import annotations

import copy
import gc
import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny models gain nothing from threads, and wait long for busy cores

import hypothesis
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from rewarddiff import outputs
from rewarddiff.pipeline import stage

hypothesis.settings.register_profile("house", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("house")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


# Tests ask what a kill leaves, not a loss of power; 8 ms a call are minutes over all of them.
os.fsync = lambda descriptor: None  # type: ignore[assignment]


def pytest_collection_finish() -> None:
    """Take what libraries hold out of garbage collection: stages collect, and it takes 0.3 s a time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _folders_are_known() -> Iterator[None]:
    """Hold `outputs.WRITTEN_THROUGH` to what commands make, whichever test runs them."""
    held = outputs._held

    @contextmanager
    def watched(place: Path, output: Path) -> Iterator[Any]:
        before = set(output.glob("*"))
        with held(place, output) as lock:
            yield lock
        for made in set(output.glob("*")) - before:
            known = made.is_file() or made.name.startswith(outputs.WRITTEN_THROUGH)
            assert known, f"{made}: a folder that is not in WRITTEN_THROUGH"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "_held", watched)
        yield


@pytest.fixture(autouse=True, scope="session")
def _files_of_stages_are_known() -> Iterator[None]:
    """Hold `stage.WRITTEN` to what the stages of runs make, whichever test runs them."""
    finished = stage.Stage._finished

    def watched(self: stage.Stage, outputs: Any) -> Any:
        is_of_a_run = (self.folder.parent.parent / "store.sqlite").exists()
        if is_of_a_run:
            assert not stage._foreign(self.folder, None), "files that are not in WRITTEN"
        return finished(self, outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.Stage, "_finished", watched)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `$REWARDDIFF_SHARED/data`, or `shared/data` beside the
    repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("REWARDDIFF_SHARED") or beside) / "data"
    if not folder.is_dir():
        pytest.skip(
            f"no real data in {folder} (set REWARDDIFF_SHARED to the folder that holds `data`)"
        )
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: one token a byte (256), then bos, eos, pad and three
    roles."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    fast.add_special_tokens(
        {"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]}
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


@pytest.fixture(scope="session")
def policy_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "policy"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        bos_token_id=tiny_tokenizer.bos_token_id, eos_token_id=tiny_tokenizer.eos_token_id,
        pad_token_id=tiny_tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=512, pad_token_id=tiny_tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<bos>", "<eos>")]
    pair = TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=ends
    )
    tokenizer.backend_tokenizer.post_processor = pair
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A machine whose questions after addresses all fail at once; the hosts that were asked for."""
    asked: list[str] = []

    def getaddrinfo(host: object, *args: object, **options: object) -> NoReturn:
        asked.append(str(host))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return asked


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it, and no change comes after it."""


Kill = Callable[..., AbstractContextManager[list[bool]]]


@pytest.fixture
def kill() -> Kill:
    """Kill a process at its N-th change to the file system, as `with kill(n, backwards) as
    killed:`.

    The change does not happen, a file opened for writing stays empty, and no clean-up behind it
    changes anything. Folders are listed by name, or backwards. `killed` is empty where there are
    fewer changes than N.
    """

    @contextmanager
    def killing(at: int, backwards: bool = False) -> Iterator[list[bool]]:
        changes, killed = 0, []

        def dies() -> bool:
            nonlocal changes
            changes += 1
            if changes >= at:
                killed.append(True)
            return bool(killed)

        def mortal(change: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                if dies():
                    raise Killed
                return change(*arguments, **options)

            return call

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            writing = mode[0] in "wax"
            before = bool(killed)
            if writing and dies():
                if not before:
                    really_open(file, mode, *arguments, **options).close()
                raise Killed
            return really_open(file, mode, *arguments, **options)

        class Listed:
            """What `os.scandir` gives, in an order of ours."""

            def __init__(self, *arguments: Any) -> None:
                with really_scan(*arguments) as entries:
                    self.entries = iter(
                        sorted(entries, key=lambda entry: entry.name, reverse=backwards)
                    )

            def __enter__(self) -> Iterator[Any]:
                return self.entries

            def __exit__(self, *_: object) -> None:
                pass

            def __iter__(self) -> Iterator[Any]:
                return self.entries

        really_open, really_scan, really_list = io.open, os.scandir, os.listdir
        with pytest.MonkeyPatch.context() as patch:
            for name in ("rename", "replace", "mkdir", "unlink", "rmdir", "link"):
                patch.setattr(os, name, mortal(getattr(os, name)))
            for module in ("io", "builtins"):
                patch.setattr(f"{module}.open", opened)
            patch.setattr(os, "scandir", Listed)
            patch.setattr(
                os, "listdir", lambda *where: sorted(really_list(*where), reverse=backwards)
            )
            with suppress(Killed):
                yield killed

    return killing
