"""Folders of models that bring code or pickles: neither is opened, and one line says so.

The referee is Python itself: an audit hook sees every file opened, every class that a pickle asks
for and all code that is executed, and a user who answers every question with yes sits at the
terminal.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import pickle
import shutil
import struct
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from rewarddiff import models
from rewarddiff.errors import UserError
from rewarddiff.footprint.shapes import shape_of
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, start_of
from rewarddiff.scorers.neural.backbones import load_backbone
from rewarddiff.scorers.neural.build import load_scorer, new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.tokenizing import text_of, tokens_of

LOADERS: dict[str, Callable[[Path], object]] = {
    "policy": models.load_causal_lm,
    "encoder": lambda folder: models.load_model(AutoModel, folder),
    "tokenizer": models.load_tokenizer,
    "context": models.context_length,
    "fingerprint": models.fingerprint,
    "backbone": lambda folder: load_backbone(str(folder)),
    "bare backbone": lambda folder: load_backbone(str(folder), bare=True),
    "scorer": load_scorer,
    "new scorer": lambda folder: new_scorer(ScorerConfig(backbone=str(folder))),
    "warm start": lambda folder: new_scorer(ScorerConfig(warm_start=str(folder))),
    "training": lambda folder: start_of(
        folder, PolicyConfig(lora=LoraConfig(r=2, merge=True)), seed=0
    ),
}

CODE = """
from pathlib import Path
Path(__file__).with_suffix(".ran").touch()
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel
from transformers import PreTrainedTokenizerFast
class Config(LlamaConfig): model_type = "hostile"
class Tokenizer(PreTrainedTokenizerFast): pass
class Body(LlamaModel): config_class = Config
class Policy(LlamaForCausalLM): config_class = Config
class Classifier(LlamaForSequenceClassification): config_class = Config
"""
CLASSES = {
    "AutoConfig": "hostile.Config",
    "AutoModel": "hostile.Body",
    "AutoModelForCausalLM": "hostile.Policy",
    "AutoModelForSequenceClassification": "hostile.Classifier",
}

watched: list[str] | None = None
"""Where the hook writes what it sees; None while no test asks (a hook cannot be taken away)."""


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if watched is None:
        return
    if event == "open" and str(args[0]).endswith((".bin", "hostile.py")):
        watched.append(f"open {args[0]}")
    if event == "pickle.find_class":
        watched.append(f"unpickle {args}")
    if event == "exec" and "hostile" in str(args[0].co_filename).rpartition("/")[2]:
        watched.append(f"exec {args[0].co_filename}")


sys.addaudithook(_watch)


def refusals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Return what every loader says of a folder, None where it loads; none may open or run code."""
    global watched
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 1000))
    answers: dict[str, str | None] = {}
    seen: list[str] = []
    watched = seen
    try:
        for name, load in LOADERS.items():
            answers[name] = None
            try:
                load(folder)
            except UserError as error:
                answers[name] = str(error)
    finally:
        watched = None
    assert seen == []
    return answers


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def with_code(folder: Path) -> None:
    (folder / "hostile.py").write_text(CODE)


def adapter_of(base: Path, folder: Path, **config: Any) -> Path:
    """An adapter's folder without weights yet."""
    folder.mkdir()
    asked = {
        "peft_type": "LORA",
        "r": 2,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base),
    }
    edit(folder / "adapter_config.json", **{**asked, **config})
    return folder


def unknown_architecture(folder: Path) -> Path:
    with_code(folder)
    edit(folder / "config.json", model_type="hostile", auto_map=CLASSES)
    return folder


def its_tokenizer_too(folder: Path) -> Path:
    unknown_architecture(folder)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map=["hostile.Tokenizer"] * 2,
    )
    return folder


def code_of_another_repository(folder: Path) -> Path:
    edit(
        folder / "config.json",
        model_type="hostile",
        auto_map={k: f"some/one--{v}" for k, v in CLASSES.items()},
    )
    return folder


def scorer(folder: Path) -> Path:
    unknown_architecture(folder)
    edit(
        folder / "rewarddiff_scorer.json",
        format=1,
        trained=True,
        config={},
        temperature=None,
        data="",
    )
    shutil.copy(folder / "model.safetensors", folder / "head.safetensors")
    return folder


def adapter_on_code(folder: Path) -> Path:
    unknown_architecture(folder)
    adapter = adapter_of(folder, folder / "adapter")
    save_file({}, adapter / "adapter_model.safetensors")
    return adapter


def tokenizer_within_a_tokenizer(folder: Path) -> Path:
    """transformers loads RAG's two tokenizers without being told whether their code may run."""
    edit(folder / "tokenizer_config.json", tokenizer_class="RagTokenizer")
    inner = {"question_encoder": {"model_type": "resnet"}, "generator": {"model_type": "resnet"}}
    edit(folder / "config.json", **inner)
    for name in ("question_encoder_tokenizer", "generator_tokenizer"):
        (folder / name).mkdir()
        with_code(folder / name)
        edit(
            folder / name / "tokenizer_config.json",
            tokenizer_class="HostileTokenizer",
            auto_map={"AutoTokenizer": [None, "hostile.Tokenizer"]},
        )
    with_code(folder)
    return folder


def test_a_tokenizer_within_a_tokenizer_runs_no_code(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tokenizer_within_a_tokenizer(Path(shutil.copytree(policy_folder, tmp_path / "m")))
    answers = refusals(folder, monkeypatch)
    assert "code in a model's folder is never run" in str(answers["tokenizer"])
    assert not list(tmp_path.rglob("*.ran"))


def test_a_plan_runs_no_code_of_a_model_without_such_a_head(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    with_code(folder)
    edit(folder / "config.json", model_type="t5", d_model=32, auto_map=CLASSES)
    monkeypatch.setitem(LOADERS, "plan", lambda folder: shape_of(str(folder)))
    assert refusals(folder, monkeypatch)["plan"] is not None
    assert not list(tmp_path.rglob("*.ran"))


def test_a_tokenizer_is_no_model(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would load it as the class that it names, and that would open its pickles."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    malice(folder / "pytorch_model.bin")
    edit(folder / "tokenizer_config.json", tokenizer_class="BertForMaskedLM")
    answer = refusals(folder, monkeypatch)["tokenizer"]
    assert 'tokenizer_class is "BertForMaskedLM", no tokenizer' in str(answer)


def test_a_tokenizer_whose_pattern_never_ends_gives_up_in_one_line(
    policy_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    pattern = {"Regex": r"(\w+\s?)+$(?<=\d)"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    edit(folder / "tokenizer.json", pre_tokenizer=split)
    tokenizer = models.load_tokenizer(folder)
    with pytest.raises(UserError, match="its tokenizer gives up"):
        tokens_of(tokenizer, ["a question that is some thirty letters long"])


def test_a_tokenizer_that_the_library_gives_up_on_is_refused_in_one_line(
    policy_folder: Path, tmp_path: Path
) -> None:
    """A map of characters of no bytes has no size."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    edit(
        folder / "tokenizer.json",
        normalizer={"type": "Precompiled", "precompiled_charsmap": ""},
    )
    with pytest.raises(UserError, match=r"m: cannot be loaded \(Precompiled: Error"):
        models.load_tokenizer(folder)


def test_a_decoder_that_the_library_gives_up_on_says_so_in_one_line(
    policy_folder: Path, tmp_path: Path
) -> None:
    """Of a text of nothing the last letter cannot be looked at."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    strip = {"type": "Strip", "content": "a", "start": 0, "stop": 1}
    edit(folder / "tokenizer.json", decoder=in_turn("decoders", {"type": "Fuse"}, strip))
    tokenizer = models.load_tokenizer(folder)
    with pytest.raises(UserError, match="m: its tokenizer gives up"):
        text_of(tokenizer, [])


def replaced(content: str, pattern: str = ".") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def in_turn(of: str, *steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def precompiled(text: str) -> dict[str, Any]:
    """A map by which SentencePiece turns an "a" into a text."""
    units = [0] * 512
    units[0] = 256 << 10  # the root's children begin at 256
    units[256 ^ ord("a")] = (
        ord("a") | 1 << 8 | 1 << 10
    )  # "a", which has a value, one unit from here
    units[256 ^ ord("a") ^ 1] = 1 << 31  # the value: where its text begins
    content = struct.pack("<I512I", 4 * 512, *units) + text.encode() + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def metaspace(mark: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": False}


def frame(*single: dict[str, Any], kind: str = "TemplateProcessing") -> dict[str, Any]:
    special = {"<bos>": {"id": "<bos>", "ids": [256], "tokens": ["<bos>"]}}
    return {"type": kind, "single": list(single), "pair": [], "special_tokens": special}


BOS = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
LETTERS = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}
BERT = {"type": "BertProcessing", "sep": ["<bos>", 256], "cls": ["<bos>", 256]}

SWELLING: dict[str, tuple[dict[str, Any], str]] = {
    # A letter becomes 2000; by the guard 2001, for a pattern may match between letters too.
    "replacement": (
        {"normalizer": replaced("a" * 2000)},
        "its normalizer may make 2e.03 characters of one",
    ),
    # 3 ** 40
    "replacements": (
        {"normalizer": in_turn("normalizers", *[replaced("ab")] * 40)},
        "its normalizer may make 1.22e.19 characters",
    ),
    # 2 ** 40
    "empty matches": (
        {"normalizer": in_turn("normalizers", *[replaced("b", "x*")] * 40)},
        "its normalizer may make 1.1e.12 characters",
    ),
    "map": (
        {"normalizer": precompiled("b" * 2000)},
        "its normalizer may make 2e.03 characters",
    ),
    # 18 letters that one character decomposes into, 100 times.
    "map and decomposition": (
        {"normalizer": in_turn("normalizers", precompiled("\ufdfa" * 100), {"type": "NFKD"})},
        "its normalizer may make 1.8e.03 characters",
    ),
    # 2 ** 10
    "marks": (
        {
            "pre_tokenizer": in_turn(
                "pretokenizers", *[LETTERS, metaspace("x"), LETTERS, metaspace("y")] * 5
            )
        },
        "its pre_tokenizer may make 1.02e.03 characters",
    ),
    # 501 * 5
    "two parts": (
        {"normalizer": replaced("a" * 500), "pre_tokenizer": {"type": "ByteLevel"}},
        "its pre_tokenizer may make 2.5e.03 characters",
    ),
    # 2000 * 5, for the policy's tokenizer takes bytes for letters.
    "copies": (
        {"post_processor": frame(*[TEXT] * 2000)},
        "its post_processor may make 1e.04 characters",
    ),
    # The library takes it for a frame, whatever its type.
    "copies by another type": (
        {"post_processor": frame(*[TEXT] * 2000, kind="RobertaProcessing")},
        "m: its post_processor may make 1e.04 characters",
    ),
    "frame": (
        {"post_processor": frame(*[BOS] * 2000, TEXT)},
        "its post_processor may put more than 1,000 tokens around a text",
    ),
    # Around each of the 401 pieces of the first frame the second one puts two.
    "frames": (
        {"post_processor": in_turn("processors", frame(*[BOS] * 400, TEXT), BERT)},
        "its post_processor may put more than 1,000 tokens around a text",
    ),
    "steps without end": (
        {"normalizer": in_turn("normalizers", *[{"type": "ByteLevel"}] * 2000)},
        "its normalizer may make inf characters of one",
    ),
    "decoder": (
        {"decoder": replaced("a" * 2000)},
        "its decoder may make 2e.03 characters",
    ),
    "no type": (
        {"normalizer": {"pattern": {"Regex": "."}, "content": "a" * 2000}},
        "its normalizer has a step of type null",
    ),
    "unknown type": (
        {"normalizer": replaced("a" * 2000) | {"type": "Other"}},
        'its normalizer has a step of type "Other", of which it is not known how far',
    ),
    "list": (
        {"normalizer": in_turn("normalizers", [{"Regex": "."}, "a" * 2000])},
        "its normalizer has a step of type null",
    ),
    "cut map": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAA"}},
        "its normalizer is not as tokenizers are saved .*save it again",
    ),
    "no map": (
        {"normalizer": {"type": "Precompiled"}},
        "its normalizer is not as tokenizers are saved .*save it again",
    ),
}


@pytest.mark.parametrize(("changes", "cause"), SWELLING.values(), ids=SWELLING)
def test_a_tokenizer_that_swells_texts_is_not_loaded(
    policy_folder: Path, tmp_path: Path, changes: dict[str, Any], cause: str
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    edit(folder / "tokenizer.json", **changes)
    with pytest.raises(UserError, match=cause):
        models.load_tokenizer(folder)


def test_a_tokenizer_in_a_file_named_after_a_version_is_looked_at(
    policy_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    shutil.copy(folder / "tokenizer.json", folder / "tokenizer.4.0.0.json")
    edit(folder / "tokenizer.4.0.0.json", normalizer=replaced("a" * 2000))
    edit(folder / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"])
    with pytest.raises(UserError, match=r"tokenizer\.4\.0\.0\.json: its normalizer"):
        models.load_tokenizer(folder)


def test_a_token_that_is_a_book_is_not_loaded(policy_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    path = folder / "tokenizer.json"
    files = json.loads(path.read_text())
    token = {**files["added_tokens"][0], "id": 259, "content": "b" * 20_000}
    edit(path, added_tokens=[*files["added_tokens"], token])
    with pytest.raises(
        UserError, match=r"m: its tokenizer may make 2e\+04 characters of one token"
    ):
        models.load_tokenizer(folder)


def test_a_key_that_stands_twice_in_a_tokenizer_is_refused(
    policy_folder: Path, tmp_path: Path
) -> None:
    """Of a type that stands twice the library takes neither, but whatever the other keys fit."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    path = folder / "tokenizer.json"
    edit(path, normalizer={"type": "Strip", "strip_left": True, "strip_right": True})
    path.write_text(path.read_text().replace('"type": "Strip"', '"type": "Strip", "type": "Strip"'))
    with pytest.raises(UserError, match="a key stands twice in one object"):
        models.load_tokenizer(folder)


KINDS = (
    "AlbertTokenizer", "BertTokenizer", "CLIPTokenizer", "DebertaV2Tokenizer", "GPT2Tokenizer", "GemmaTokenizer",
    "LlamaTokenizer", "MBart50Tokenizer", "Qwen2Tokenizer", "RemBertTokenizer", "RobertaTokenizer", "T5Tokenizer",
    "WhisperTokenizer", "XLMRobertaTokenizer", "XLNetTokenizer",
)  # fmt: skip
"""Kinds of tokenizers that models have, each made of other steps."""


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_of_real_models_swell_little(
    policy_folder: Path, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    make = getattr(transformers, kind)
    options = {}
    if "_spm_precompiled_charsmap" in inspect.signature(make.__init__).parameters:
        # U+FDFA, of which the map of SentencePiece makes the longest text.
        longest = precompiled(unicodedata.normalize("NFKC", "\ufdfa"))["precompiled_charsmap"]
        options["_spm_precompiled_charsmap"] = base64.b64decode(longest)
    make(**options).save_pretrained(folder)
    assert type(models.saved_tokenizer(folder)) is make


def test_a_map_of_characters_that_swells_little_is_read(
    policy_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    steps = (precompiled("xyz"), {"type": "NFKC"}, replaced(" ", " {2,}"))
    edit(folder / "tokenizer.json", normalizer=in_turn("normalizers", *steps))
    tokenizer = models.load_tokenizer(folder)
    assert tokenizer.backend_tokenizer.normalizer.normalize_str("b   a") == "b xyz"


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_routed_experts"])
def test_a_model_of_a_billion_parts_is_not_made(
    policy_folder: Path, tmp_path: Path, key: str
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    edit(folder / "config.json", **{key: 10**9})
    with pytest.raises(UserError, match=f"{key} is 1,000,000,000, more than any model has"):
        models.load_causal_lm(folder)


REFUSED_CODE = [
    unknown_architecture,
    its_tokenizer_too,
    code_of_another_repository,
    scorer,
    adapter_on_code,
]


@pytest.mark.parametrize("make", REFUSED_CODE, ids=lambda make: make.__name__)
def test_code_of_a_folder_is_never_run(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    folder = make(Path(shutil.copytree(policy_folder, tmp_path / "m")))
    answers = refusals(folder, monkeypatch)
    assert answers.pop("fingerprint") is None  # files are hashed, whatever they hold
    answers.pop("tokenizer")  # one that needs no code may be read
    for answer in answers.values():
        assert answer is not None
        assert answer.startswith(str(tmp_path / "m"))
        assert "code in a model's folder is never run" in answer
        assert "\n" not in answer
    assert not list(tmp_path.rglob("*.ran"))


def test_what_transformers_knows_by_itself_is_read_without_its_code(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Config and tokenizer name code they no longer need, as in many models that were new once."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    with_code(folder)
    edit(folder / "config.json", auto_map=CLASSES)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "hostile.Tokenizer"]})
    answers = refusals(folder, monkeypatch)
    untrained = {name for name, answer in answers.items() if answer is not None}
    assert untrained == {"scorer", "warm start"}
    assert "no trained head" in str(answers["scorer"])
    assert not list(tmp_path.rglob("*.ran"))


def index_of_pickles(folder: Path) -> tuple[Path, str]:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    malice(folder / "weights.bin")
    edit(
        folder / "model.safetensors.index.json",
        metadata={},
        weight_map={"lm_head.weight": "weights.bin"},
    )
    return folder, "names weights.bin, which is no safetensors"


def index_of_a_pickled_model(folder: Path) -> tuple[Path, str]:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    malice(folder / "weights.bin")
    edit(
        folder / "pytorch_model.bin.index.json",
        metadata={},
        weight_map={"lm_head.weight": "weights.bin"},
    )
    return folder, "weights.bin is pickled and is not read"


def index_of_files_elsewhere(folder: Path) -> tuple[Path, str]:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    edit(
        folder / "model.safetensors.index.json",
        metadata={},
        weight_map={"lm_head.weight": "../other.safetensors"},
    )
    return folder, "names ../other.safetensors, outside the folder"


def index_of_an_absolute_path(folder: Path) -> tuple[Path, str]:
    elsewhere = (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    edit(
        folder / "model.safetensors.index.json",
        metadata={},
        weight_map={"lm_head.weight": str(elsewhere)},
    )
    return folder, f"names {elsewhere}, outside the folder"


def configured_pickle(folder: Path) -> tuple[Path, str]:
    malice(folder / "adapter_model.bin")
    edit(folder / "config.json", transformers_weights="adapter_model.bin")
    return folder, "transformers_weights names adapter_model.bin"


def index_that_the_configuration_prefers(folder: Path) -> tuple[Path, str]:
    """transformers then reads the index although there is a single file of weights."""
    malice(folder / "weights.bin")
    edit(
        folder / "model.safetensors.index.json",
        metadata={},
        weight_map={"lm_head.weight": "weights.bin"},
    )
    edit(folder / "config.json", transformers_weights="model.safetensors.index.json")
    return folder, "names weights.bin, which is no safetensors"


def index_of_nothing(folder: Path) -> tuple[Path, str]:
    edit(folder / "model.safetensors.index.json", metadata={}, weight_map={})
    return folder, "weight_map does not name files of weights"


def configured_kernel(folder: Path) -> tuple[Path, str]:
    edit(folder / "config.json", attn_implementation="some/kernel")
    return folder, "names code on the hub (some/kernel), which is never run"


def pickled_adapter(folder: Path) -> tuple[Path, str]:
    adapter = adapter_of(folder, folder / "adapter")
    malice(adapter / "adapter_model.bin")
    save_file({}, adapter / "other.safetensors")
    return adapter, "adapter_model.bin is pickled and is not read"


def adapter_that_opens_a_pickle(folder: Path) -> tuple[Path, str]:
    """A multitask prompt's start is unpickled by peft as it makes the adapter, before any weights."""
    malice(folder / "start.bin")
    adapter = adapter_of(
        folder,
        folder / "adapter",
        peft_type="MULTITASK_PROMPT_TUNING",
        prompt_tuning_init="ONLY_SOURCE_SHARED",
        prompt_tuning_init_state_dict_path=str(folder / "start.bin"),
        num_virtual_tokens=2,
        token_dim=32,
        num_transformer_submodules=1,
    )
    save_file({}, adapter / "adapter_model.safetensors")
    return adapter, "an adapter of type MULTITASK_PROMPT_TUNING cannot be worked into weights"


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def malice(file: Path) -> None:
    file.write_bytes(pickle.dumps(Malice()))


PICKLED = [
    index_of_pickles, index_of_a_pickled_model, index_of_files_elsewhere, index_of_an_absolute_path, configured_pickle,
    index_that_the_configuration_prefers, index_of_nothing, configured_kernel, pickled_adapter,
    adapter_that_opens_a_pickle,
]  # fmt: skip


@pytest.mark.parametrize("make", PICKLED, ids=lambda make: make.__name__)
def test_pickles_and_files_elsewhere_are_refused_unopened(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    folder, cause = make(Path(shutil.copytree(policy_folder, tmp_path / "m")))
    answers = refusals(folder, monkeypatch)
    if make is adapter_that_opens_a_pickle:  # what reads its base's small files alone is fine
        for name in ("tokenizer", "context", "fingerprint"):
            assert answers.pop(name) is None
    for answer in answers.values():
        assert answer is not None
        assert cause in answer
        assert str(tmp_path / "m") in answer
        assert "\n" not in answer


def test_shards_that_an_index_names_are_read(policy_folder: Path, tmp_path: Path) -> None:
    """What lies beside whole weights unread does no harm: a trainer's arguments, older pickles."""
    folder = Path(shutil.copytree(policy_folder, tmp_path / "m"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(sorted(weights))}
    for shard in set(names.values()):
        save_file(
            {k: v for k, v in weights.items() if names[k] == shard},
            folder / shard,
            metadata={"format": "pt"},
        )
    edit(folder / "model.safetensors.index.json", metadata={}, weight_map=names)
    malice(folder / "training_args.bin")
    malice(folder / "pytorch_model.bin")
    model, _ = models.load_causal_lm(folder)
    for key, weight in weights.items():
        assert model.get_parameter(key).equal(weight)
