"""The model card of a scorer: what it is, how its texts end, and lines that load it."""

from __future__ import annotations

from dataclasses import replace

from rewarddiff.models.cards import Card, Facts, Section, python, shell, training
from rewarddiff.scorers.neural.export import obstacle
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.neural.texts import DecoderTexts, EncoderTexts
from rewarddiff.writing import as_markdown, code_span

TURNS = (
    'turns = [{"role": "user", "content": "What is tea?"},',
    '         {"role": "assistant", "content": "A drink of leaves."}]',
)


def scorer_card(scorer: NeuralScorer, facts: Facts) -> str:
    """Return the README of a scorer's folder."""
    config = scorer.config
    kind = "Reward model" if config.kind == "reward" else "Difference model"
    if not facts.base:
        facts = replace(facts, base=config.warm_start or config.backbone)
    counts = dict(facts.counts)
    if scorer.prompts and "prompts" not in counts:
        counts["prompts"] = len(scorer.prompts)
    figures = dict(facts.figures)
    if scorer.temperature is not None:
        figures["temperature T, fitted on the dev split"] = scorer.temperature
    facts = replace(facts, counts=counts, figures=figures)
    return Card(
        title=kind,
        task="text-classification",
        library="transformers" if obstacle(scorer) is None else "rewarddiff",
        tags=(f"{config.kind}-model",),
        facts=facts,
        sections=[_what(scorer), training(facts), _texts(scorer), *_loading(scorer)],
    ).text


def _what(scorer: NeuralScorer) -> Section:
    if scorer.config.kind == "reward":
        meaning = "r(x, y) scores the response y to the prompt x by itself; higher is better."
    else:
        meaning = (
            "d(x, a, b) says by how much the response a is better than b; d(x, b, a) = −d(x, a, b)."
        )
    paragraphs = [meaning]
    if scorer.temperature is not None:
        difference = "r(x, a) − r(x, b)" if scorer.config.kind == "reward" else "d(x, a, b)"
        paragraphs.append(f"σ(({difference}) / T) is the probability that a is preferred to b.")
    if scorer.config.aspects:
        weights = scorer.config.aspects.items()
        aspects = (f"{as_markdown(name)} ({weight:g})" for name, weight in weights)
        paragraphs.append(f"It weighs: {', '.join(aspects)}.")
    return Section("What it says", paragraphs)


def _texts(scorer: NeuralScorer) -> Section:
    texts = scorer.reader.texts
    lengths = scorer.config.lengths
    cut = f"Responses are read up to {lengths.max_response} tokens"
    if lengths.max_prompt is not None:
        cut += f", prompts their last {lengths.max_prompt}"
    return Section("How a text must end", [*_endings(texts), f"{cut}."])


def _endings(texts: object) -> list[str]:
    if isinstance(texts, EncoderTexts):
        return [
            "The tokenizer's pair: `tokenizer(prompt, response)`. A conversation is plain text: of one "
            "turn its content, of several `role: content`, with an empty line between."
        ]
    assert isinstance(texts, DecoderTexts)
    if texts.joint:
        return ["Both responses are read in one text, which rewarddiff writes."]
    end = code_span(str(texts.tokenizer.eos_token))
    if texts.way == "apart":
        return [
            f"Prompt and response are tokenised apart; a plain response ends with {end}, a turn "
            "with its end of turn, and nothing behind it."
        ]
    endings = [f"Plain: `prompt + response`, and then {end} once."]
    if texts.tokenizer.chat_template:
        endings.append(
            "Conversation: all that `tokenizer.apply_chat_template` writes of the turns, the "
            "response's last, without a generation prompt."
        )
    return endings


def _loading(scorer: NeuralScorer) -> list[Section]:
    """Return how it is loaded; each block works in this folder, or with its name on the hub."""
    reason = obstacle(scorer)
    sections = [Section("Load it with rewarddiff", [_here(scorer), _from_the_shell()])]
    if reason is not None:
        return [*sections, Section("Other programs", [f"It {reason}."])]
    texts = scorer.reader.texts
    if isinstance(texts, EncoderTexts):
        return [*sections, Section("Load it with transformers", [_pair()])]
    assert isinstance(texts, DecoderTexts)
    if texts.way == "apart":
        return sections
    chat = bool(texts.tokenizer.chat_template)
    sections.append(Section("Load it with transformers", [_turns() if chat else _plain()]))
    if chat:
        sections.append(Section("In TRL, as a reward of conversations", [_trl()]))
    return [*sections, Section("Serve it with vLLM", [_vllm(chat)])]


def _here(scorer: NeuralScorer) -> str:
    asked = "scorer.rewards([group])[0]"
    if scorer.config.kind == "difference":
        asked = "scorer.differences([group], [[(0, 1)]])[0].mean"
    return python(
        "import rewarddiff as rd",
        'scorer = rd.load_scorer(".")',
        'group = rd.Group("1", "What is tea?", ("A drink of leaves.", "A hat."))',
        f"answer = {asked}",
    )


def _from_the_shell() -> str:
    return shell("rewarddiff eval . preferences.jsonl")


def _pair() -> str:
    return python(
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'text = tokenizer("What is tea?", "A drink of leaves.", return_tensors="pt")',
        "reward = model(**text).logits[0, 0]",
    )


def _turns() -> str:
    return python(
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        *TURNS,
        'text = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)',
        "reward = model(**text).logits[0, 0]",
    )


def _plain() -> str:
    return python(
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'text = "What is tea?" + "A drink of leaves." + tokenizer.eos_token',
        'reward = model(**tokenizer(text, return_tensors="pt")).logits[0, 0]',
    )


def _trl() -> str:
    return python(
        "from trl import GRPOTrainer",
        'trainer = GRPOTrainer(model=policy, args=args, reward_funcs=".", train_dataset=prompts)',
    )


def _vllm(chat: bool) -> str:
    asked = '"input": "What is tea?A drink of leaves.<the end token>"'
    if chat:
        asked = (
            '"messages": [{"role": "user", "content": "What is tea?"}, '
            '{"role": "assistant", "content": "A drink of leaves."}]'
        )
    return shell(
        "vllm serve . --runner pooling --served-model-name reward",
        "curl localhost:8000/classify -H 'Content-Type: application/json' \\",
        f'  -d \'{{"model": "reward", "use_activation": false, {asked}}}\'',
    )
