"""What both scorers promise on both kinds of backbone, on tiny random models in float32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.model_files import ABOUT
from rewarddiff.records import Group
from rewarddiff.scorers.neural import readers
from rewarddiff.scorers.neural import scorer as base
from rewarddiff.scorers.neural.backbones import load_backbone
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import General, Head, Last, ScorerConfig, Segments
from rewarddiff.scorers.neural.losses import BatchMargin, BradleyTerry
from rewarddiff.scorers.ranking import scores
from rewarddiff.store import Store

from .conftest import BACKBONES, make, means, readings

KINDS = [
    ("reward", "segments"),
    ("difference", "segments"),
    ("difference", "last"),
]


def all_pairs(groups: list[Group]) -> list[list[tuple[int, int]]]:
    return [
        [(a, b) for a in range(len(g.responses)) for b in range(len(g.responses)) if a != b]
        for g in groups
    ]


def close(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    """Equal up to 1e-6 of the spread of the values."""
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * max(1.0, float(np.abs(a).max())))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_batching_and_order_change_nothing(
    folders, groups, monkeypatch, backbone, kind, head
) -> None:
    scorer = make(folders[backbone], kind=kind, head=head)
    scorer.reader.double()  # so that what is left is a fault and not rounding
    pairs = all_pairs(groups)
    together = readings(scorer, groups, pairs)
    alone = [readings(scorer, [g], [p])[0] for g, p in zip(groups, pairs, strict=True)]
    close(together, alone)
    backwards = readings(scorer, groups[::-1], [p[::-1] for p in pairs[::-1]])
    close(together, [values[::-1] for values in backwards[::-1]])
    monkeypatch.setattr(base, "READ_TOKENS", 1)  # every reading by itself
    monkeypatch.setattr(readers, "CPU_TOKENS", 1)
    close(together, readings(scorer, groups, pairs))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", ["segments", "last"])
def test_both_orders_are_antisymmetric_to_the_bit(folders, groups, backbone, head) -> None:
    scorer = make(folders[backbone], kind="difference", head=head)
    forward = means(scorer, groups, [[(0, 1)]] * 3)
    backward = means(scorer, groups, [[(1, 0)]] * 3)
    same = means(scorer, groups, [[(1, 1)]] * 3)
    for f, b, s in zip(forward, backward, same, strict=True):
        assert f[0] == -b[0]
        assert f[0] != 0
        assert s[0] == 0
    one = means(scorer, groups, [[(0, 1)]] * 3, orders="one")
    other = means(scorer, groups, [[(1, 0)]] * 3, orders="one")
    assert any(a[0] != -b[0] for a, b in zip(one, other, strict=True))
    for f, a, b in zip(forward, one, other, strict=True):
        assert f[0] == pytest.approx(0.5 * (a[0] - b[0]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_reward_differences_are_gaps_of_scores(folders, groups, backbone) -> None:
    scorer = make(folders[backbone])
    rewards = scores(scorer, groups)
    differences = means(scorer, groups, all_pairs(groups))
    for s, d, pairs in zip(rewards, differences, all_pairs(groups), strict=True):
        assert d.tolist() == [s[a] - s[b] for a, b in pairs]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scores_of_a_difference_model(folders, groups, backbone) -> None:
    """Of three responses the first scores ½(d̄(0,1) + d̄(0,2)); all scores sum to 0 since d̄ is
    antisymmetric."""
    scorer = make(folders[backbone], kind="difference", head="segments")
    (means_to_others,) = scores(scorer, groups[:1])
    d = means(scorer, groups[:1], [[(0, 1), (0, 2)]])[0]
    assert means_to_others[0] == pytest.approx(0.5 * (d[0] + d[1]), rel=1e-5, abs=1e-6)
    assert means_to_others.sum() == pytest.approx(0, abs=1e-12)
    assert scores(scorer, [Group("x", "p", ("only",))])[0].tolist() == [0]


def test_decoder_reads_trees_as_single_sequences(folders, groups) -> None:
    """The reader's number is that of the model's own code on one plain sequence after another."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folders["decoder"], num_labels=1
    ).eval()
    for kind, head in KINDS:
        scorer = make(folders["decoder"], kind=kind, head=head)
        model.load_state_dict(scorer.reader.model.state_dict())
        texts = scorer.reader.texts
        arity = 1 if kind == "reward" else 2
        for group in groups:
            page = texts.page(group)
            reading = texts.reading(page, *range(arity))
            with torch.no_grad():
                states = model.model(torch.tensor([sum(reading, ())])).last_hidden_state[0]
                ends = np.cumsum([len(part) for part in reading]) - 1
                at = model.score(states[torch.tensor(ends)]).squeeze(-1)
            expected = at[1] - at[2] if (kind, head) == ("difference", "segments") else at[-1]
            pair = (
                readings(scorer, [group], [[(0, 1)]])[0][0, 0]
                if arity == 2
                else scores(scorer, [group])[0][0]
            )
            assert pair == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


def test_decoder_reads_the_papers_text(folders) -> None:
    texts = make(folders["decoder"], kind="difference", head="last").reader.texts
    page = texts.page(Group("a", "why?", ("so", "because")))
    reading = texts.reading(page, 1, 0)
    text = texts.tokenizer.decode(sum(reading, ()), skip_special_tokens=True)
    assert text == "Query: why?; Response 1: because; Response 2: so"


def test_encoder_reads_the_tokenizers_own_pair(folders) -> None:
    scorer = make(folders["encoder"])
    texts = scorer.reader.texts
    reading = texts.reading(texts.page(Group("a", "why?", ("so", "because"))), 0)
    assert list(sum(reading, ())) == texts.tokenizer("why?", "so").input_ids
    joint = make(folders["encoder"], kind="difference").reader.texts
    first, second = texts.tokenizer("so", add_special_tokens=False).input_ids, [2]
    reading = joint.reading(joint.page(Group("a", "why?", ("so", "because"))), 0, 0)
    assert list(sum(reading, ())) == [*texts.tokenizer("why?", "so").input_ids, *first, *second]


def test_encoder_pools_the_response(folders) -> None:
    """r = w · mean of the states over the response and its separator, by the model's own code on
    one row."""
    scorer = make(folders["encoder"])
    model, head = scorer.reader.model, scorer.reader.own_head
    inputs = scorer.tokenizer("why?", "so", return_tensors="pt")  # [CLS] w h y ? [SEP] s o [SEP]
    with torch.no_grad():
        states = model(**inputs).last_hidden_state[0, 6:9]
        expected = (states.mean(0) @ head.weight[0]).item()
    assert scores(scorer, [Group("a", "why?", ("so",))])[0][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_saved_and_loaded_scores_are_equal(folders, groups, tmp_path, backbone, kind, head) -> None:
    scorer = make(folders[backbone], kind=kind, head=head)
    scorer.trained, scorer.temperature, scorer.data = True, 1.5, "abc"
    pairs = all_pairs(groups)
    before = readings(scorer, groups, pairs)
    save_scorer(scorer, tmp_path / "scorer")
    save_scorer(scorer, tmp_path / "scorer")  # over an older one
    assert [p.name for p in tmp_path.iterdir()] == ["scorer"]
    assert not list(tmp_path.rglob("*.bin"))
    loaded = load_scorer(tmp_path / "scorer")
    assert (loaded.kind, loaded.temperature, loaded.data) == (kind, 1.5, "abc")
    assert loaded.config == scorer.config
    assert loaded.fingerprint == scorer.fingerprint  # the weights, bit for bit
    for a, b in zip(before, readings(loaded, groups, pairs), strict=True):
        # On some machines a product rounds otherwise where its weights lie otherwise in memory.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_a_copy_of_a_scorer_has_its_fingerprint(folders, tmp_path, backbone, kind) -> None:
    """Loaded and saved again, as a run does with a scorer that is trained already; an edited
    description differs."""
    scorer = make(folders[backbone], kind=kind)
    scorer.trained, scorer.temperature = True, 1.5
    save_scorer(scorer, tmp_path / "scorer")
    save_scorer(load_scorer(tmp_path / "scorer"), tmp_path / "copy")
    assert models.fingerprint(tmp_path / "copy") == models.fingerprint(tmp_path / "scorer")
    about = json.loads((tmp_path / "copy" / "rewarddiff_scorer.json").read_text())
    (tmp_path / "copy" / "rewarddiff_scorer.json").write_text(
        json.dumps({**about, "temperature": 2.5})
    )
    assert models.fingerprint(tmp_path / "copy") != models.fingerprint(tmp_path / "scorer")


@pytest.mark.parametrize(("backbone", "pooling"), [("decoder", "mean"), ("encoder", "cls")])
def test_transformers_loads_a_reward_model_with_equal_scores(
    folders, groups, tmp_path, backbone, pooling
) -> None:
    scorer = make(folders[backbone], pooling=pooling)
    scorer.trained = True
    save_scorer(scorer, tmp_path / "reward")
    model, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "reward", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert model.num_labels == 1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    plain = [g for g in groups if isinstance(g.prompt, str)]
    for group, rewards in zip(plain, scores(scorer, plain), strict=True):
        if backbone == "encoder":
            inputs = tokenizer(
                [group.prompt] * len(group.responses),
                list(group.responses),
                padding=True,
                return_tensors="pt",
            )
        else:
            inputs = tokenizer(
                [group.prompt + r + "<eos>" for r in group.responses],
                padding=True,
                return_tensors="pt",
            )
        with torch.no_grad():
            theirs = model.eval()(**inputs).logits[:, 0]
        np.testing.assert_allclose(rewards, theirs.numpy(), rtol=1e-5, atol=1e-6)
    # loaded as a stranger's reward model, without this package's file beside it
    (tmp_path / "reward" / "rewarddiff_scorer.json").unlink()
    stranger = load_scorer(tmp_path / "reward")
    close(scores(stranger, plain), scores(scorer, plain))


def test_padding_never_is_the_end_token(folders, tmp_path, tiny_tokenizer) -> None:
    """A chat model whose padding is its end token: transformers would then read one token before
    the end."""
    source = tmp_path / "chat"
    load_backbone(str(folders["decoder"])).model.save_pretrained(source)
    tiny_tokenizer.save_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(source)
    scorer = make(source)
    assert scorer.tokenizer.pad_token_id != scorer.tokenizer.eos_token_id
    assert scorer.reader.model.config.pad_token_id == scorer.tokenizer.pad_token_id


def test_untrained_heads_are_refused(folders, tmp_path) -> None:
    for folder in folders.values():
        with pytest.raises(UserError, match=rf"{folder}: no trained head \((score|classifier)\."):
            load_scorer(folder)
    scorer = make(folders["encoder"])
    with pytest.raises(UserError, match="never trained"):
        save_scorer(scorer, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    scorer.trained = True
    save_scorer(scorer, tmp_path / "x")
    (tmp_path / "x" / "head.safetensors").unlink()
    with pytest.raises(UserError, match="no trained head"):
        load_scorer(tmp_path / "x")
    about = json.loads((tmp_path / "x" / "rewarddiff_scorer.json").read_text())
    (tmp_path / "x" / "rewarddiff_scorer.json").write_text(json.dumps({**about, "trained": False}))
    with pytest.raises(UserError, match="no trained head"):
        load_scorer(tmp_path / "x")


def test_what_is_no_reward_model_is_refused(folders, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        load_scorer(tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere"):
        load_scorer(tmp_path / "nowhere")
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_labels=3,
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "three")
    AutoTokenizer.from_pretrained(folders["decoder"]).save_pretrained(tmp_path / "three")
    with pytest.raises(UserError, match="three: a classifier of 3 labels"):
        load_scorer(tmp_path / "three")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_warm_start_keeps_the_reward_models_body_and_head(folders, tmp_path, backbone) -> None:
    teacher = make(folders[backbone])
    teacher.trained = True
    save_scorer(teacher, tmp_path / "reward")

    def start(head: str) -> base.NeuralScorer:
        return new_scorer(
            ScorerConfig(kind="difference", head=head, warm_start=str(tmp_path / "reward")), seed=3
        )

    def heads(scorer: base.NeuralScorer) -> torch.Tensor:
        return torch.cat([p.flatten() for p in scorer.reader.head_parameters()])

    for name, weight in teacher.reader.model.base_model.state_dict().items():
        torch.testing.assert_close(
            start("segments").reader.model.base_model.state_dict()[name], weight, rtol=0, atol=0
        )
    assert torch.equal(heads(start("segments")), heads(teacher))
    assert not torch.equal(heads(start("last")), heads(teacher))


@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_texts_are_cut_where_they_are_longest(folders, kind) -> None:
    """128 positions, 4 of them [CLS] and three [SEP] in the joint text, 3 in the other: prompts
    keep their end, and responses, cut to one length, their beginning."""
    texts = make(folders["encoder"], kind=kind).reader.texts
    group = Group("a", "p" * 300 + "end", ("short", "start" + "l" * 300, "start" + "m" * 300))
    page = texts.page(group)
    assert page.cut == {"response"}  # to max_response, 64
    shown = (1, 2) if kind == "difference" else (1,)
    reading = texts.reading(page, *shown)
    room = 128 - (4 if kind == "difference" else 3)
    assert room - 2 <= sum(map(len, reading)) - (128 - room) <= room
    words = [texts.tokenizer.decode(part, skip_special_tokens=True) for part in reading]
    assert words[0].endswith("end")
    assert all(word.startswith("start") for word in words[1:])
    assert len({len(word) for word in words[1:]}) == 1
    # a short response is left whole
    assert (
        texts.tokenizer.decode(texts.reading(page, 0, *shown[1:])[1], skip_special_tokens=True)
        == "short"
    )


def test_store_spares_the_second_reading(folders, groups, tmp_path, monkeypatch) -> None:
    scorer = make(folders["encoder"], kind="difference")
    pairs = all_pairs(groups)
    with Store(tmp_path / "store.db") as store:
        first = means(scorer, groups, pairs, store=store)
        monkeypatch.setattr(scorer.reader, "values", lambda _: pytest.fail("read again"))
        second = means(scorer, groups, pairs, store=store)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        other = make(folders["encoder"], kind="difference", head="last")
        assert other.fingerprint != scorer.fingerprint


def test_measured_comparisons(folders, groups) -> None:
    measured = compare(make(folders["encoder"], kind="difference"), groups)
    assert [m.group for m in measured] == ["a"] * 3 + ["b"] + ["c"] * 6
    assert measured[3].strength == 2
    assert (measured[3].chosen_length, measured[3].rejected_length) == (
        len("Four."),
        len("Five, I think."),
    )
    assert all(m.d_swapped is None for m in compare(make(folders["encoder"]), groups))


def test_reward_reads_what_a_policy_would_write(folders, groups) -> None:
    """A decoder reward model sees the policy's own tokens: chat template, one end token."""
    texts = make(folders["decoder"]).reader.texts
    encoder = Encoder(texts.tokenizer, LengthConfig())
    group = groups[1]
    expected = (encoder.prompt(group.prompt), encoder.response(group.prompt, group.responses[0]))
    assert texts.reading(texts.page(group), 0) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "difference", "pooling": "cls"}, "pooling cls"),
        ({"kind": "difference", "head": {"name": "last", "reverse": -1.0}}, "at least 0"),
        ({"item_comparisons": 0}, "at least 1"),
        (
            {"kind": "difference", "head": "segments", "loss": BatchMargin()},
            "loss batch-margin is for reward models",
        ),
        (
            {"kind": "difference", "head": "segments", "loss": BradleyTerry(center=0.1)},
            "center is for reward models",
        ),
    ],
)
def test_configurations_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        ScorerConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("saved", "head"),
    [
        ({"head": "general", "rank": 3}, General(rank=3)),
        ({"head": "segments", "rank": 2, "orders": "one", "reverse": 0.2},
         Segments(orders="one", reverse=0.2)),
        ({"head": "last", "regulariser": "abs", "together": [1, 2, 4]}, Last(regulariser="abs")),
    ],
)  # fmt: skip
def test_a_head_of_before_it_had_its_own_options_is_read(
    folders, tmp_path: Path, saved: dict[str, object], head: Head
) -> None:
    scorer = make(folders["encoder"], kind="difference", head="general", rank=3)
    if head.name != "general":
        scorer = make(folders["encoder"], kind="difference", head=head.name)
    scorer.trained = True
    save_scorer(scorer, tmp_path / "scorer")
    about = json.loads((tmp_path / "scorer" / ABOUT).read_text())
    del about["config"]["head"]
    about["format"] = 1
    about["config"] |= saved
    (tmp_path / "scorer" / ABOUT).write_text(json.dumps(about))
    assert load_scorer(tmp_path / "scorer").config.head == head


def test_a_head_that_is_gone_is_named(folders, tmp_path: Path) -> None:
    scorer = make(folders["encoder"], kind="difference", head="segments")
    scorer.trained = True
    save_scorer(scorer, tmp_path / "scorer")
    about = json.loads((tmp_path / "scorer" / ABOUT).read_text())
    about["config"] |= {"head": "mixed", "together": [1, 2]}
    (tmp_path / "scorer" / ABOUT).write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"'mixed', should be 'general' or 'segments' or 'last'"):
        load_scorer(tmp_path / "scorer")
