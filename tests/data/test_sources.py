"""What a name stands for: splits of folders, saved datasets, and what stands beside the data."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.file_splits import split_of_file
from rewarddiff.data.sources import paths
from rewarddiff.errors import UserError
from rewarddiff.hub import hub_trouble


def row(text: str) -> dict[str, Any]:
    return {"prompt": text, "chosen": f"good {text}", "rejected": f"bad {text}"}


def fill(folder: Path, *names: str) -> Path:
    """JSONL files of one row each, whose prompt is the file's name in the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row(name)) + "\n")
    return folder


def prompts(source: str | Path, split: str | None = None) -> list[str]:
    return [str(group.prompt) for group in read(source, split=split, ledger=Ledger())]


# --- splits of a folder ---------------------------------------------------------------------------------------------

ULTRAFEEDBACK = ("test_prefs", "test_sft", "train_gen", "train_prefs", "train_sft")


def test_a_split_is_a_whole_name(tmp_path: Path) -> None:
    fill(tmp_path, *(f"data/{split}-00000-of-00001.jsonl" for split in ULTRAFEEDBACK))
    assert prompts(tmp_path, "train_prefs") == ["data/train_prefs-00000-of-00001.jsonl"]
    choices = "name one of test_prefs, test_sft, train_gen, train_prefs, train_sft"
    example = f", as in {tmp_path}#test_prefs"
    for split, cause in (
        ("train", "no split 'train'"),
        ("prefs", "no split 'prefs'"),
        (None, "several splits"),
    ):
        with pytest.raises(
            UserError, match=f"^{tmp_path}: {cause}; {choices}{'' if split else example}$"
        ):
            prompts(tmp_path, split)


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        ("train.jsonl test.jsonl", "train", "train.jsonl"),
        ("data/train.jsonl data/test.jsonl", "test", "data/test.jsonl"),
        ("test/a.jsonl train/a.jsonl train/b.jsonl", "train", "train/a.jsonl train/b.jsonl"),
        ("a/test.jsonl a/train.jsonl b/train.jsonl", "train", "a/train.jsonl b/train.jsonl"),
        ("train-00000-of-00002.jsonl train-00001-of-00002.jsonl test-00000-of-00001.jsonl", "train",
         "train-00000-of-00002.jsonl train-00001-of-00002.jsonl"),
        ("train-00000-of-00002-0a1b2c.jsonl test.jsonl", "train", "train-00000-of-00002-0a1b2c.jsonl"),
        ("train_1.jsonl train-part2.jsonl test.jsonl", "train", "train-part2.jsonl train_1.jsonl"),
        ("test/part-00000-of-00002.jsonl train/part-00000-of-00002.jsonl", "test", "test/part-00000-of-00002.jsonl"),
        ("main/train/0000.jsonl main/partial-test/0000.jsonl", "partial-test", "main/partial-test/0000.jsonl"),
        ("dev.jsonl train.jsonl", "validation", "dev.jsonl"),  # one split to `datasets`
        ("dev.jsonl validation.jsonl", "dev", "dev.jsonl"),
        ("train.sft.jsonl train.jsonl", "train.sft", "train.sft.jsonl"),
        ("ours.jsonl theirs-1.jsonl theirs-2.jsonl", "theirs", "theirs-1.jsonl theirs-2.jsonl"),
        ("ours/a.jsonl theirs/a.jsonl", "ours", "ours/a.jsonl"),
    ],
)  # fmt: skip
def test_splits_are_found_by_the_names_of_files_and_folders(
    tmp_path: Path, names: str, split: str, chosen: str
) -> None:
    fill(tmp_path, *names.split())
    assert prompts(tmp_path, split) == chosen.split()
    assert prompts(f"{tmp_path}#{split}") == chosen.split()


@pytest.mark.parametrize(
    "names",
    [
        ["train.jsonl", "test.jsonl"],
        ["a/train.jsonl", "b/dev.jsonl"],
        ["helpful-train.jsonl", "helpful-test.jsonl"],
        ["prefs-00000-of-00001.jsonl", "sft-00000-of-00001.jsonl"],
        ["test.jsonl", "preferences.jsonl"],
    ],
)
def test_several_splits_are_never_pooled(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match="several splits; name one of"):
        prompts(fill(tmp_path, *names))


@pytest.mark.parametrize(
    "names",
    [
        ["harmless-base.jsonl", "helpful-base.jsonl"],
        ["part-1.jsonl", "part-2.jsonl"],
        ["contest.jsonl", "latest.jsonl"],  # words, not letters
        ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"],
        ["a/train.jsonl", "b/train.jsonl"],
    ],
)
def test_files_of_one_split_or_none_are_read_together(tmp_path: Path, names: list[str]) -> None:
    assert prompts(fill(tmp_path, *names)) == names


def test_split_words_are_those_of_datasets() -> None:
    """Every word by which `datasets` tells splits makes a split of a file of that name."""
    data_files = pytest.importorskip("datasets.data_files")
    words = [word for several in data_files.SPLIT_KEYWORDS.values() for word in several]
    assert len(words) >= 10
    assert [split_of_file(f"{word}.jsonl") for word in words] == words
    assert [split_of_file(f"data/my_{word}_file.csv") for word in words] == [
        f"my_{word}_file" for word in words
    ]


def test_a_split_is_named_once(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl")
    assert prompts(f"{tmp_path}#test", "test") == ["test.jsonl"]
    with pytest.raises(UserError, match="names split 'test', and split=train another"):
        prompts(f"{tmp_path}#test", "train")
    with pytest.raises(UserError, match="a single file has no split 'a'"):
        prompts(f"{tmp_path}/train.jsonl#a")
    fill(tmp_path, "odd#name.jsonl")
    assert prompts(str(tmp_path / "odd#name.jsonl")) == ["odd#name.jsonl"]
    assert [path.name for path in paths(f"{tmp_path}#test")] == ["test.jsonl"]


def test_a_cached_split_is_that_split(tmp_path: Path) -> None:
    fill(tmp_path / "data", "train.jsonl", "test.jsonl")
    for split in ("train", "test", "train"):
        (group,) = load_groups(f"{tmp_path / 'data'}#{split}", cache=tmp_path / "cache")
        assert group.prompt == f"{split}.jsonl"
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2


# --- what a folder holds --------------------------------------------------------------------------------------------


def test_what_stands_beside_a_dataset_s_data_is_no_data(tmp_path: Path) -> None:
    fill(tmp_path, "data/train.jsonl", "__MACOSX/x.jsonl", ".cache/x.jsonl")
    for name in ("dataset_infos.json", "dataset_info.json", "croissant.json", "config.json"):
        (tmp_path / name).write_text(
            json.dumps({"default": {"features": {"prompt": {}}}}, indent=1)
        )
    (tmp_path / "README.md").write_text("---\nconfigs: []\n---\n")
    (tmp_path / ".gitattributes").write_text("*.parquet filter=lfs\n")
    assert prompts(tmp_path) == ["data/train.jsonl"]


def test_packed_files_are_not_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "part-1.jsonl")
    (tmp_path / "part-2.jsonl.zst").write_bytes(b"")
    for source in (tmp_path, tmp_path / "part-2.jsonl.zst"):
        with pytest.raises(
            UserError, match=r"part-2\.jsonl\.zst: packed as \.zst, which is not read; unpack it"
        ):
            prompts(source)


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "b.jsonl")
    fill(tmp_path / "data", "a.jsonl")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "round").symlink_to(tmp_path / "data")
    assert prompts(tmp_path / "data") == ["a.jsonl", "b.jsonl"]


def test_a_leading_tilde_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "data/a.jsonl", "splits/train.jsonl", "splits/test.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prompts("~/data/a.jsonl") == prompts(Path("~/data")) == ["data/a.jsonl"]
    assert prompts("~/splits#test") == ["splits/test.jsonl"]
    assert load_groups("~/data", cache="~/cache")[0].prompt == "data/a.jsonl"
    assert paths("~/data") == [tmp_path / "data" / "a.jsonl"]
    assert list((tmp_path / "cache").glob("*.arrow"))


# --- saved datasets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["arrow", "numpy", "pandas", "torch"])
def test_saved_datasets_are_read_as_plain_values(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": f"p{n}", "responses": ["a", "b"], "scores": [2.0, 1.0]} for n in range(3)]
    data = datasets.Dataset.from_list(rows).with_format(form)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=data).save_to_disk(str(tmp_path / "dict"))
    for name in ("one", "dict"):
        groups = list(read(tmp_path / name, ledger=Ledger()))
        assert [(group.prompt, group.responses, group.scores) for group in groups] == [
            (f"p{n}", ("a", "b"), (2.0, 1.0)) for n in range(3)
        ]


def test_a_folder_that_only_looks_like_a_saved_dataset(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(UserError, match="no file ends in any of"):
        prompts(tmp_path)
    fill(tmp_path, "a.jsonl")
    assert prompts(tmp_path) == ["a.jsonl"]


def test_a_saved_dataset_that_is_broken_is_said_in_a_line(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([row("p")]).save_to_disk(str(tmp_path / "one"))
    for arrow in (tmp_path / "one").glob("*.arrow"):
        arrow.write_bytes(b"nothing")
    with pytest.raises(
        UserError, match=r"one: a saved dataset that cannot be loaded \(.*; save it again"
    ) as error:
        prompts(tmp_path / "one")
    assert "\n" not in str(error.value)


def test_a_dataset_that_cannot_be_had_is_said_after_one_question(
    no_connection: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library of datasets waits 1, 2, 4, 8 and 8 seconds between its tries."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError) as error:
        prompts("nobody/nothing")
    assert str(error.value).startswith(
        "nobody/nothing: no such file, and the hub cannot be reached ("
    )
    assert len(no_connection) <= 2  # its library asks once more for itself


def test_who_wants_no_connection_is_not_asked_for_one(
    no_connection: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_DATASETS_OFFLINE is of their library of datasets alone."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub was not asked, since HF_DATASETS_OFFLINE"):
        prompts("nobody/nothing")
    assert no_connection == []


def test_a_hub_that_is_slow_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewarddiff.hub.HUB_SECONDS", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # it takes what it is asked, and says nothing
        host, port = silent.getsockname()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://{host}:{port}")
        assert hub_trouble("some/large", "dataset") is None


def test_a_dataset_of_the_hubs_cache_is_read_without_a_connection(
    tmp_path: Path, no_connection: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their library has it in OWNER___NAME/CONFIG/VERSION/HASH, and what it is in dataset_info.json."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    place = tmp_path / "some___tiny" / "default" / "0.0.0" / "0123456789abcdef"
    datasets.Dataset.from_list([row("p")]).save_to_disk(str(place))
    (arrow,) = place.glob("*.arrow")
    arrow.rename(place / "tiny-train.arrow")
    split = {"name": "train", "num_examples": 1, "dataset_name": "tiny"}
    names = {"dataset_name": "tiny", "config_name": "default", "version": "0.0.0"}
    (place / "dataset_info.json").write_text(json.dumps({**names, "splits": {"train": split}}))
    assert prompts("some/tiny") == ["p"]
