"""Text to tokens. Referees: the chat template, the decoder, and TRL's preparation of DPO data."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from real_templates import CHATS, SPACED, with_chat
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from trl import DPOTrainer

from rewarddiff.data.formats import detect
from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group, Message

TALK = (Message("system", "Be brief."), Message("user", " Why? "))
WRAPPERS = {"nothing": "$A", "bos": "<bos> $A", "bos and eos": "<bos> $A <eos>", "eos": "$A <eos>"}
CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def wrapped(tokenizer: PreTrainedTokenizerFast, adds: str) -> PreTrainedTokenizerFast:
    """Return the byte tokenizer with a post-processor that adds special tokens to every text."""
    tokenizer = copy.deepcopy(tokenizer)
    special = [("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
    processor = processors.TemplateProcessing(single=WRAPPERS[adds], special_tokens=special)
    tokenizer.backend_tokenizer.post_processor = processor
    return tokenizer


def with_chatml(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose turns end with a special token without a name, and a line break."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["<|end|>"], special_tokens=True)
    tokenizer.chat_template = CHATML
    return tokenizer


def encoder(
    tokenizer: PreTrainedTokenizerFast, context: int | None = None, **lengths: int | None
) -> Encoder:
    return Encoder(tokenizer, LengthConfig(**lengths), context)


def dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


@pytest.mark.parametrize("adds", WRAPPERS)
@pytest.mark.parametrize("begins", ["", "{{ bos_token }}"])
def test_a_conversation_is_the_tokenizers_own_template(
    tiny_tokenizer: PreTrainedTokenizerFast, adds: str, begins: str
) -> None:
    tokenizer = wrapped(tiny_tokenizer, adds)
    tokenizer.chat_template = begins + tokenizer.chat_template
    ids = encoder(tokenizer).prompt(TALK)
    theirs = tokenizer.apply_chat_template(
        dicts(TALK), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert list(ids) == theirs
    # The template alone decides, not the post-processor.
    assert ids.count(tokenizer.bos_token_id) == bool(begins)
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<|assistant|>")


@pytest.mark.parametrize(
    "text", ["Hi", "", " \n", "ends itself<eos>", "<bos>begins itself", "<bos>both<eos>"]
)
@pytest.mark.parametrize("adds", WRAPPERS)
def test_plain_prompts_begin_once_and_do_not_end(
    tiny_tokenizer: PreTrainedTokenizerFast, adds: str, text: str
) -> None:
    tokenizer = wrapped(tiny_tokenizer, adds)
    ids = encoder(tokenizer).prompt(text)
    assert len(ids) >= 1  # a response needs something to follow
    begins = "<bos>" in text or "bos" in adds or text == ""
    assert [i for i, t in enumerate(ids) if t == tokenizer.bos_token_id] == [0] * begins
    assert ids.count(tokenizer.eos_token_id) == ("<eos>" in text)


@pytest.mark.parametrize("text", ["Paris", "Paris<eos>", " Paris \n", ""])
@pytest.mark.parametrize("adds", WRAPPERS)
def test_responses_end_once(tiny_tokenizer: PreTrainedTokenizerFast, adds: str, text: str) -> None:
    tokenizer = wrapped(tiny_tokenizer, adds)
    for prompt in ("Capital?", TALK):
        ids = encoder(tokenizer).response(prompt, text)
        assert [i for i, t in enumerate(ids) if t == tokenizer.eos_token_id] == [len(ids) - 1]
        assert tokenizer.bos_token_id not in ids
        assert tokenizer.decode(ids) == text.removesuffix("<eos>") + "<eos>"


def test_a_turn_ends_with_the_templates_own_token(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = with_chatml(tiny_tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    # As in Phi-3, whose <|end|> has no name among the special tokens.
    assert end not in tokenizer.all_special_ids
    ours = encoder(tokenizer)
    assert ours.end_of(TALK) == end
    assert ours.end_of("plain") == tokenizer.eos_token_id
    for text in ("Because.", "Because.<|end|>"):
        assert tokenizer.decode(ours.response(TALK, text)) == "Because.<|end|>"


def test_a_template_without_an_end_of_turn_ends_with_eos(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert encoder(tokenizer).response(TALK, "So.")[-1] == tokenizer.eos_token_id


def test_conversations_need_a_template(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        encoder(tokenizer).prompt(TALK)


@pytest.mark.parametrize("adds", WRAPPERS)
def test_plain_text_is_untouched(tiny_tokenizer: PreTrainedTokenizerFast, adds: str) -> None:
    ours = encoder(wrapped(tiny_tokenizer, adds))
    prompt, response = "\n\n Human:  is 2 < 3 ?\n\nAssistant: ", "  Yes — natürlich.\n "
    assert ours.text(ours.prompt(prompt)) == prompt
    assert ours.text(ours.response(prompt, response)) == response
    assert ours.text([*ours.prompt(prompt), *ours.response(prompt, response)]) == prompt + response


def group(prompt: str, *responses: str) -> Group:
    return Group("g", prompt, responses, source="rows.jsonl:7")


def example(ledger: Ledger, where: str, reason: str) -> dict[str, Any]:
    (only,) = ledger.to_dict()[where][reason]["examples"]
    return only


def test_cuts_keep_a_prompts_end_and_a_responses_beginning(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger = Ledger()
    encoded = encoder(tiny_tokenizer, max_prompt=4, max_response=3).group(
        group("abcdefg", "vwxyz", "q"), ledger
    )
    assert encoded is not None
    # a byte is a token: 7 → the last 4; 5 and its end → the first 3, without the end; 1 and its end
    # fit
    assert [tiny_tokenizer.decode(ids) for ids in (encoded.prompt, *encoded.responses)] == [
        "defg",
        "vwx",
        "q<eos>",
    ]
    assert (ledger.kept, ledger.dropped) == (1, 0)
    cut, shortened = (
        example(ledger, "changed", "prompt_cut"),
        example(ledger, "changed", "response_cut"),
    )
    assert cut == {"source": "rows.jsonl:7", "id": "g", "detail": "7 tokens cut to the last 4"}
    assert shortened == {"source": "rows.jsonl:7", "id": "g", "detail": "6 tokens cut to 3"}


def test_what_fits_exactly_is_not_counted_as_cut(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ledger = Ledger()
    encoded = encoder(tiny_tokenizer, context=7, max_prompt=4, max_response=3).group(
        group("abcd", "vw", "q"), ledger
    )
    assert encoded is not None
    assert (len(encoded.prompt), *map(len, encoded.responses)) == (4, 3, 2)
    assert ledger.to_dict() == {"total": 1, "kept": 1, "dropped": {}, "changed": {}}


def test_responses_alike_after_the_cut_are_dropped(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ledger = Ledger()
    short = encoder(tiny_tokenizer, max_response=3)
    assert (
        list(short.groups([group("p", "same 1", "same 2"), group("p", "one", "two")], ledger)) != []
    )
    assert (ledger.kept, ledger.count("identical_after_truncation")) == (1, 1)
    assert example(ledger, "dropped", "identical_after_truncation")["source"] == "rows.jsonl:7"


def test_only_what_is_alike_or_too_long_is_left_out(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger = Ledger()
    known = tuple(Comparison(i, j) for i, j in ((0, 1), (0, 2), (2, 3), (1, 3)))
    ours = encoder(tiny_tokenizer, context=12, max_response=4)
    # cut to four tokens the first two are alike; after seven tokens of prompt all fit, after nine
    # only "d" and its end
    encoded = ours.group(
        Group("g", "1234567", ("same 1", "same 2", "other", "d"), comparisons=known), ledger
    )
    assert encoded is not None
    assert [encoded.usable(c) for c in known] == [False, True, True, True]
    detail = example(ledger, "changed", "identical_after_truncation")["detail"]
    assert detail == "alike in the first 4 tokens; 3 of 4 responses, 3 of 4 comparisons left"
    ledger = Ledger()
    two = (Comparison(0, 1), Comparison(1, 2))
    encoded = ours.group(Group("g", "123456789", ("long", "c", "d"), comparisons=two), ledger)
    assert encoded is not None
    assert [len(r) for r in encoded.responses] == [0, 2, 2]  # indices stay
    assert [encoded.usable(c) for c in two] == [False, True]
    detail = example(ledger, "changed", "prompt_too_long")["detail"]
    assert detail.endswith("; 2 of 3 responses, 1 of 2 comparisons left")
    # two different responses are left, but what is known compares others
    assert (
        ours.group(Group("g", "1234567", ("same 1", "same 2", "d"), comparisons=known[:1]), ledger)
        is None
    )
    assert (ledger.kept, ledger.dropped) == (1, 1)


def test_a_prompt_beyond_the_context_is_dropped(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ledger = Ledger()
    ours = encoder(tiny_tokenizer, context=12, max_response=4)
    assert ours.group(group("123456789", "abc", "d"), ledger) is None  # 9 + 4 > 12
    assert ours.group(group("12345678", "abc", "d"), ledger) is not None  # 8 + 4 = 12
    assert (ledger.kept, ledger.dropped) == (1, 1)
    place = example(ledger, "dropped", "prompt_too_long")
    assert place["source"] == "rows.jsonl:7"
    assert place["detail"].startswith("9 + 4 tokens, the model reads 12")


def test_limits_beyond_the_context_are_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(
        UserError, match=r"5 \+ max_response 4 is beyond the model's context of 8 positions: lower"
    ):
        encoder(tiny_tokenizer, context=8, max_prompt=5, max_response=4)


def test_a_prompt_is_fitted_to_what_will_follow(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ours = encoder(tiny_tokenizer, context=10, max_response=2)
    assert ours.text(ours.fitting("123456789", 4)) == "456789"
    assert ours.text(ours.fitting("123", 4)) == "123"
    with pytest.raises(UserError, match="10 positions"):
        ours.fitting("123", 10)


def trl_ids(
    tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, Any]]
) -> list[tuple[list[int], ...]]:
    """Prompt, chosen and rejected as TRL's own trainer prepares them for DPO."""
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    args: Any = SimpleNamespace(
        dataset_num_proc=None, max_length=None, truncation_mode="keep_start"
    )
    data = DPOTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, args, "train")  # type: ignore[arg-type]
    return [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in data]


def our_ids(
    tokenizer: PreTrainedTokenizerFast, prompt: Any, *responses: str
) -> tuple[list[int], ...]:
    ours = encoder(tokenizer)
    return (list(ours.prompt(prompt)), *(list(ours.response(prompt, text)) for text in responses))


PLAIN = [
    {"prompt": "\n\nHuman: Hi \n\nAssistant:", "chosen": " Hello.", "rejected": " Go away!<eos>"},
    {"prompt": " <bos>", "chosen": "", "rejected": "x\n"},
]


@pytest.mark.parametrize("adds", ["nothing", "bos"])
def test_plain_rows_have_the_tokens_of_trl(
    tiny_tokenizer: PreTrainedTokenizerFast, adds: str
) -> None:
    tokenizer = wrapped(tiny_tokenizer, adds)
    for row, theirs in zip(PLAIN, trl_ids(tokenizer, PLAIN), strict=True):
        assert our_ids(tokenizer, row["prompt"], row["chosen"], row["rejected"]) == theirs


def test_where_the_tokenizer_adds_eos_trl_ends_twice(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    # TRL writes "<eos>" behind the text and the tokenizer adds its own: a difference on purpose, by
    # that one token.
    tokenizer = wrapped(tiny_tokenizer, "bos and eos")
    prompt, chosen, rejected = trl_ids(tokenizer, PLAIN)[0]
    ours = our_ids(tokenizer, PLAIN[0]["prompt"], PLAIN[0]["chosen"], PLAIN[0]["rejected"])
    eos = tokenizer.eos_token_id
    assert (prompt, chosen, rejected) == (ours[0], [*ours[1], eos], [*ours[2], eos])


def conversation(text: str) -> dict[str, Any]:
    reply, other = ([{"role": "assistant", "content": t}] for t in (text, "No."))
    return {"prompt": dicts(TALK), "chosen": reply, "rejected": other}


@pytest.mark.parametrize("adds", WRAPPERS)
@pytest.mark.parametrize("begins", ["", "{{ bos_token }}"])
def test_conversations_have_the_tokens_of_trl(
    tiny_tokenizer: PreTrainedTokenizerFast, adds: str, begins: str
) -> None:
    tokenizer = wrapped(tiny_tokenizer, adds)
    tokenizer.chat_template = begins + tokenizer.chat_template
    assert [our_ids(tokenizer, TALK, " Because. ", "No.")] == trl_ids(
        tokenizer, [conversation(" Because. ")]
    )


def test_what_a_template_writes_behind_the_end_of_turn_is_not_learned(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    # ChatML closes with "<|end|>\n". Generation stops at <|end|>: the line break is never the
    # policy's. TRL learns it.
    tokenizer = with_chatml(tiny_tokenizer)
    (theirs,) = trl_ids(tokenizer, [conversation("Because.")])
    line_break = tokenizer("\n").input_ids
    prompt, *responses = our_ids(tokenizer, TALK, "Because.", "No.")
    assert theirs == (prompt, *(r + line_break for r in responses))


def test_a_merge_across_the_boundary_is_where_trl_takes_the_end_of_the_prompt_off() -> None:
    # With a merge of b and c, "ab" + "c" is a, bc in one piece. TRL tokenises in one piece and
    # gives b to the response; here prompt and response are tokenised apart, as at generation the
    # prompt comes first.
    vocab = {token: i for i, token in enumerate(["a", "b", "c", "d", "bc", "<eos>"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab=vocab, merges=[("b", "c")])),
        eos_token="<eos>",
        pad_token="<eos>",
    )
    (theirs,) = trl_ids(tokenizer, [{"prompt": "ab", "chosen": "c", "rejected": "d"}])
    assert tuple(tokenizer.convert_ids_to_tokens(ids) for ids in theirs) == (
        ["a"],
        ["bc", "<eos>"],
        ["b", "d", "<eos>"],
    )
    ours = our_ids(tokenizer, "ab", "c", "d")
    assert tuple(tokenizer.convert_ids_to_tokens(i) for i in ours) == (
        ["a", "b"],
        ["c", "<eos>"],
        ["d", "<eos>"],
    )


def metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral: every text is given a space in front, and spaces are written ▁."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz:.", "<unk>", "<s>", "</s>"]
    words = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[], unk_token="<unk>")
    )
    words.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    words.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("response", ["yes.", " yes.", "  yes."])
def test_a_response_continues_the_prompt_without_a_space_of_the_tokenizers(response: str) -> None:
    tokenizer = metaspace()
    assert [our_ids(tokenizer, "say:", response, "no")] == trl_ids(
        tokenizer, [{"prompt": "say:", "chosen": response, "rejected": "no"}]
    )
    ours = encoder(tokenizer)
    assert ours.text([*ours.prompt("say:"), *ours.response("say:", response)]) == "say:" + response


TOOLS_TEMPLATE = (
    "{% if tools %}<|system|>{{ tools | tojson }}<eos>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
    "<eos>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "weather", "parameters": {}}}
]
CALLING: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "weather"}}],
    },
    {"role": "tool", "content": "sunny"},
]


def calling() -> Group:
    row = {"prompt": CALLING, "tools": TOOLS, "chosen": "Sun", "rejected": "Rain"}
    form = detect(row)
    assert form is not None
    return form.converter(None)(row)


def test_tools_and_their_calls_are_rendered_by_the_template(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = TOOLS_TEMPLATE
    theirs = tokenizer.apply_chat_template(
        CALLING, tools=TOOLS, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    ledger = Ledger()
    encoded = encoder(tokenizer).group(calling(), ledger)
    assert encoded is not None
    assert list(encoded.prompt) == theirs
    assert ledger.count("tools_left_out") == 0


def test_tools_of_a_turn_are_rendered_also_behind_a_system_prompt(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = TOOLS_TEMPLATE
    row = {"prompt": [{"role": "user", "content": "Hi", "tools": TOOLS}], "system": "Be kind."}
    form = detect(row | {"chosen": "a", "rejected": "b"})
    assert form is not None
    prompt = form.converter(None)(row | {"chosen": "a", "rejected": "b"}).prompt
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    theirs = tokenizer.apply_chat_template(
        turns, tools=TOOLS, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert list(encoder(tokenizer).prompt(prompt)) == theirs


def test_a_template_that_does_not_read_tools_is_told(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ledger = Ledger()
    assert encoder(tiny_tokenizer).group(calling(), ledger) is not None
    (example,) = ledger.to_dict()["changed"]["tools_left_out"]["examples"]
    assert example["detail"] == "the chat template does not read tools and tool_calls"


def spaced(template: str, way: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts a space before every text (Llama 2) or its first part (newer)."""
    letters = ["▁", "\n", *map(chr, range(33, 127)), "<unk>", "<s>", "</s>"]
    words = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[], unk_token="<unk>")
    )
    if way == "always":
        words.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=SPACED[template],
    )
    assert tokenizer("a", add_special_tokens=False).input_ids == tokenizer.convert_tokens_to_ids(
        ["▁", "a"]
    )
    return tokenizer


@pytest.mark.parametrize("way", ["always", "first"])
@pytest.mark.parametrize("template", SPACED)
def test_a_conversations_response_has_the_tokens_of_the_whole_text(template: str, way: str) -> None:
    """Spaces are the template's, not the one that the tokenizer puts before a text by itself."""
    tokenizer, question = spaced(template, way), (Message("user", "Why?"),)
    for text in ("So.", "One, two."):
        turns = [*dicts(question), {"role": "assistant", "content": text}]
        whole = tokenizer(
            tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False
        ).input_ids
        prompt, response = our_ids(tokenizer, question, text)
        # Zephyr's has a line break behind it.
        closed = len(whole) - whole[::-1].index(tokenizer.eos_token_id)
        assert prompt + response == whole[:closed]
        assert [*map(list, encoder(tokenizer).wholes(question, [text]))] == [whole]


BEGUN = (Message("user", "Capital of France?"), Message("assistant", "It is"))


@pytest.mark.parametrize("chat", CHATS)
def test_a_prompt_that_begins_the_answer_is_continued(
    tiny_tokenizer: PreTrainedTokenizerFast, chat: str
) -> None:
    tokenizer = with_chat(tiny_tokenizer, chat)
    prompt, response = our_ids(tokenizer, BEGUN, " Paris.")
    begun = tokenizer.apply_chat_template(
        dicts(BEGUN), continue_final_message=True, return_dict=False
    )
    assert prompt == begun
    assert tokenizer.decode(response) == " Paris." + CHATS[chat].end
    turns = [*dicts(BEGUN[:1]), {"role": "assistant", "content": "It is Paris."}]
    (whole,) = encoder(tokenizer).wholes(BEGUN, [" Paris."])
    assert list(whole) == tokenizer.apply_chat_template(turns, return_dict=False)


@pytest.mark.parametrize("chat", CHATS)
def test_what_is_learned_ends_where_sampling_stops(
    tiny_tokenizer: PreTrainedTokenizerFast, chat: str
) -> None:
    tokenizer = with_chat(tiny_tokenizer, chat)
    # As of Llama 3's base model: its EOS ends texts, another token ends turns.
    tokenizer.eos_token = "<eos>"
    ours, question = encoder(tokenizer), (Message("user", "Why?"),)
    end = tokenizer.convert_tokens_to_ids(CHATS[chat].end)
    assert ours.response(question, "So.")[-1] == end
    assert ours.ends([question, "plain"]) == sorted([end, tokenizer.eos_token_id])


SYSTEM = Group("talk", TALK, ("So.", "No."), source="rows.jsonl:3")


def test_a_conversation_that_the_template_refuses_is_dropped(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Gemma's knows no role system."""
    ours, ledger = encoder(with_chat(tiny_tokenizer, "gemma")), Ledger()
    fine = [Group(str(i), (Message("user", "Why?"),), ("So.", "No.")) for i in range(2)]
    assert [encoded.group for encoded in ours.groups([fine[0], SYSTEM, fine[1]], ledger)] == fine
    place = example(ledger, "dropped", "template_refused")
    assert place == {"source": "rows.jsonl:3", "id": "talk", "detail": "System role not supported"}
    with pytest.raises(
        UserError, match=r"rows.jsonl:3: 1 of 3 rows dropped.*template_refused \(System role not"
    ):
        ledger.enforce(0.3)
    assert [cause for _, cause in ours.refusals([fine[0], SYSTEM, group("plain", "a", "b")])] == [
        None,
        "System role not supported",
        None,
    ]
    with pytest.raises(
        UserError,
        match=r"rows.jsonl:3: the chat template refuses the conversation \(System role not",
    ):
        ours.require([*fine, SYSTEM])


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{% for m in messages %}{{ m.role }", "TemplateSyntaxError"),
        ("{{ messages.first.content }}", "UndefinedError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
    ],
)
def test_a_template_with_a_mistake_is_no_rows_fault(
    tiny_tokenizer: PreTrainedTokenizerFast, template: str, cause: str
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=rf"its chat template does not work \({cause}: .*\); mend"):
        encoder(tokenizer).group(SYSTEM, Ledger())


def test_a_tokenizer_without_an_end_token_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.eos_token = None
    ours = encoder(tokenizer)
    for ask in (
        ours.end_of,
        lambda prompt: ours.response(prompt, "So."),
        lambda prompt: ours.wholes(prompt, ["So."]),
    ):
        with pytest.raises(
            UserError, match=r"has no end token.*name one as eos_token in its tokenizer_config.json"
        ):
            ask("Why?")
    talking = encoder(with_chat(tiny_tokenizer, "gemma"))
    talking.tokenizer.eos_token = None
    # Its template has one.
    assert talking.response((Message("user", "Why?"),), "So.")[-1] == talking.end_of(TALK)
