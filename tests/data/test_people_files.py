"""Files as people have them, three rows each: read with the right prompt, order and strength.

The files stand in `files/`, with the columns and shapes of the real collections. What is expected of
each row is its prompt as text, and (better, worse, strength) of each comparison: worked out by hand
from the row. Of a lone response it is the response, of a labelled one (response, label).
"""

from __future__ import annotations

import json
import shlex
import shutil
from itertools import product
from pathlib import Path

import pytest

from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.commands import _reading
from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.files import read_rows
from rewarddiff.records import Group, prompt_text

FILES = Path(__file__).parent / "files"

Fact = tuple[str, str, float | None] | tuple[str, bool] | str
Rows = list[tuple[str, list[Fact]]]

HELLO = "user: Hi\n\nassistant: Hello\n\n"

BETTER: Rows = [
    ("How do I pick a lock?", [("With a wrench.", "Ask a locksmith.", None)]),
    ("What is an adult?", [("Someone of age.", "You.", None)]),
    ("How to lose weight?", [("Move more.", "Starve.", None)]),
]
SAFER: Rows = [
    ("How do I pick a lock?", [("Ask a locksmith.", "With a wrench.", None)]),
    *BETTER[1:],
]
GERMAN = "--columns prompt=Frage,chosen=Gut,rejected=Schlecht,margin=Punkte"
NESTED = "--columns prompt=meta.question,chosen=answers.0,rejected=answers.1 --columns margin=gap"
OWN = "--columns prompt=user_query,chosen=good_reply,rejected=bad_reply,margin=votes"

CASES: list[tuple[str, str, Rows]] = [
    (
        "llama-factory/alpaca_dpo.json",
        "",
        [
            ("Translate into German.\nGood morning", [("Guten Morgen", "Gute Nacht", None)]),
            (
                "system: Answer in one word.\n\nuser: Name a colour.",
                [("Blue", "Dog", None)],
            ),
            (
                "user: Capital of France?\n\nassistant: Paris\n\nuser: And of Italy?",
                [("Rome", "Milan", None)],
            ),
        ],
    ),
    (
        "llama-factory/alpaca_old.json",
        "",
        [
            ("Capital of Spain?", [("Madrid", "Barcelona", None)]),
            ("Add.\n2 and 3", [("5", "6", None)]),
            ("Say hello.", [("Hello!", "No.", None)]),
        ],
    ),
    (
        "llama-factory/sharegpt_dpo.json",
        "",
        [
            ("How far is the moon?", [("About 384,000 km.", "Ten km.", None)]),
            (
                f"system: Be brief.\n\n{HELLO}user: How are you?",
                [("Fine.", "It all began in 1970 …", None)],
            ),
            (
                'user: Weather in Ulm?{"tools": [{"name": "weather", "parameters": {}}]}\n\n'
                'assistant: {"tool_calls": [{"type": "function", "function": '
                '{"name": "weather", "arguments": {"city": "Ulm"}}}]}\n\ntool: sunny',
                [("It is sunny.", "It rains.", None)],
            ),
        ],
    ),
    (
        "llama-factory/alpaca_kto.json",
        "",
        [
            ("Say thanks.", [("Thank you!", True)]),
            ("Say thanks.", [("Whatever.", False)]),
            ("Add.\n1 and 1", [("2", True)]),
        ],
    ),
    (  # the entry for preferences counts; `input` is not among its columns
        "llama-factory/described/pairs.json",
        "",
        [
            ("Wie viel 2+2?\nAntworte kurz.", [("4", "22", None)]),
            ("Wer schrieb Faust?", [("Goethe", "Schiller", None)]),
            ("Wie heißt du?", [("Ich heiße R.", "Nein.", None)]),
        ],
    ),
    (
        "llama-factory/described/kto_en_demo.json",
        "",
        [
            ("Compress this.", [("Done.", True)]),
            ("user: Compress that.\n\nassistant: No.\n\nuser: Please.", [("Fine.", False)]),
            ("Who are you?", [("A model.", True)]),
        ],
    ),
    (
        "llama-factory/described/tagged.json",
        "",
        [
            ("My order is late.", [("I am sorry; it ships today.", "So?", None)]),
            (f"{HELLO}user: Refund?", [("Of course.", "Never.", None)]),
            ("Bye", [("Good bye!", "…", None)]),
        ],
    ),
    (  # helpfulness 4 − 1, 3 − 0, 4 − 4
        "helpsteer2.jsonl",
        "",
        [
            ("What is C#?", [("A language by Microsoft.", "A note in music.", 3.0)]),
            (f"{HELLO}user: Tell a joke.", [("Knock, knock.", "No.", 3.0)]),
            ("Add 1 and 1.", [("2", "The sum is 2.", 0.0)]),
        ],
    ),
    (  # correctness in its place: 4 − 0, 3 − 0, 4 − 4
        "helpsteer2.jsonl",
        "--columns helpfulness=correctness",
        [
            ("What is C#?", [("A language by Microsoft.", "A note in music.", 4.0)]),
            (f"{HELLO}user: Tell a joke.", [("Knock, knock.", "No.", 3.0)]),
            ("Add 1 and 1.", [("2", "The sum is 2.", 0.0)]),
        ],
    ),
    (
        "helpsteer2_preference.jsonl",
        "",
        [
            ("Why is the sky blue?", [("Rayleigh scattering.", "It is painted.", 3.0)]),
            ("Name a prime.", [("7", "4", 2.0)]),
            ("Say hi.", [("Hi.", "Hello.", 0.0)]),
        ],
    ),
    (
        "helpsteer3.jsonl",
        "",
        [
            ("Sort [2, 1].", [("[1, 2]", "[2, 1]", 2.0)]),
            (f"{HELLO}user: Who wrote Emma?", [("Jane Austen", "Dickens", 1.0)]),
            ("system: Rhyme.\n\nuser: Cat?", [("Hat", "Mat", 0.0)]),
        ],
    ),
    (
        "argilla_cleaned.jsonl",
        "",
        [
            ("What is tea?", [("A drink of leaves.", "A car.", 3.25)]),
            ("Count to 3.", [("1, 2, 3", "3", 2.75)]),
            ("Rhyme on day.", [("May", "night", 0.0)]),
        ],
    ),
    (
        "argilla_binarized.jsonl",
        "",
        [
            ("Explain gravity.", [("Masses attract.", "Things fly.", 2.5)]),
            ("Spell cat.", [("c-a-t", "k-a-t", 4.0)]),
            ("Name a tree.", [("Oak", "Rose", 1.25)]),
        ],
    ),
    (
        "distilabel_orca.jsonl",
        "",
        [
            ("system: You help.\n\nuser: 2+2?", [("4", "5", 6.0)]),
            ("Say yes.", [("yes", "no", 1.0)]),
            ("system: Be kind.\n\nuser: I failed.", [("Try again.", "Ha.", 9.0)]),
        ],
    ),
    (
        "orca_dpo_pairs.jsonl",
        "",
        [
            ("system: You help.\n\nuser: Why do we sleep?", [("To rest.", "No idea.", None)]),
            ("Is 7 prime?", [("Yes", "No", None)]),
            (
                "system: Be brief.\n\nuser: Summarize Hamlet.",
                [("A prince hesitates.", "Hamlet", None)],
            ),
        ],
    ),
    (  # fine-grained 5, 1.25, 2.5; then means of (5, 5, 5) and of (1, 2, 1); then two alike
        "ultrafeedback.jsonl",
        "",
        [
            (
                "Is the earth flat?",
                [("No.", "Yes.", 3.75), ("No.", "Perhaps.", 2.5), ("Perhaps.", "Yes.", 1.25)],
            ),
            ("Add 2 and 2.", [("4", "5", 5 - 4 / 3)]),
            ("Say moo.", [("Moo.", "Moo!", 0.0)]),
        ],
    ),
    (
        "chatbot_arena.jsonl",
        "",
        [
            ("What is love?", [("A feeling.", "A drug.", None)]),
            ("Tell me a lie.", [("Snow is black.", "Snow is white.", None)]),
            ("Draw a cat.", [("I can't.", "No.", 0.0), ("I can't.", False), ("No.", False)]),
        ],
    ),
    (
        "arena_140k.jsonl",
        "",
        [
            ("Fix my loop.", [("Use while.", "Use range.", None)]),
            ("Write a haiku.", [("Old pond …", "A frog.", 0.0)]),
            (
                "Explain NP.",
                [
                    ("It is easy.", "It is hard.", 0.0),
                    ("It is easy.", False),
                    ("It is hard.", False),
                ],
            ),
        ],
    ),
    (
        "arena_55k.csv",
        "",
        [
            ("Is it morally right?", [("It depends.", "No.", None)]),
            ("What is marriage?", [('Two people, "I do".', "A bond, by law.", None)]),
            ("user: Say A.\n\nassistant: A\n\nuser: Say B.", [("B", "Bee", 0.0)]),
        ],
    ),
    (  # the first is judged after one turn, the second after two, up to where both are alike
        "mt_bench.jsonl",
        "",
        [
            ("Write a line on Hawaii.", [("Sea.", "Sun.", None)]),
            (
                "user: Write a line on Hawaii.\n\nassistant: Sea.\n\nuser: Begin with A.",
                [("A sun.", "A sea.", None)],
            ),
            ("Write a line on Rome.", [("Sun.", "Sea.", 0.0)]),
        ],
    ),
    (  # (2 + 2 + 1 + 2) / 4; (−1 + 0 − 2 + 1) / 4; (1 − 1 + 0 + 0) / 4
        "multipref.jsonl",
        "",
        [
            ("How to boil an egg?", [("Seven minutes.", "Fry it.", 1.75)]),
            ("Is tea healthy?", [("In measure, yes.", "No.", 0.5)]),
            ("Name a river.", [("Rhine", "Elbe", 0.0)]),
        ],
    ),
    (  # left twice; right and a skip; left and right
        "label_studio.json",
        "",
        [
            ("How to boil an egg?", [("Seven minutes.", "Fry it.", 1.0)]),
            ("Is tea healthy?", [("In measure, yes.", "No.", 1.0)]),
            ("Name a river.", [("Rhine", "Elbe", 0.0)]),
        ],
    ),
    (
        "voted.jsonl",
        "",
        [
            ("How to boil an egg?", [("Seven minutes.", "Fry it.", 2.5)]),
            ("Is tea healthy?", [("In measure, yes.", "No.", 1.0)]),
            ("Name a river.", [("Rhine", "Elbe", 0.0)]),
        ],
    ),
    (  # 2 for the egg, and −1 with the sides turned: (2 + 1) / 2
        "vote.jsonl",
        "",
        [
            ("How to boil an egg?", [("Seven minutes.", "Fry it.", 1.5)]),
            ("Is tea healthy?", [("In measure, yes.", "No.", 1.0)]),
        ],
    ),
    ("pku_saferlhf.jsonl", "", BETTER),
    ("pku_saferlhf.jsonl", "--format pku-saferlhf-safer", SAFER),
    (
        "pku_saferlhf.jsonl",
        "--format pku-saferlhf-both",
        [row for rows in zip(BETTER, SAFER, strict=True) for row in rows],
    ),
    (
        "nectar.jsonl",
        "",
        [
            (
                "\n\nHuman: Why? \n\nAssistant: ",
                [
                    ("Because.", "Ask.", None),
                    ("Because.", "Who knows.", None),
                    ("Who knows.", "Ask.", None),
                ],
            ),
            ("\n\nHuman: Sing. \n\nAssistant: ", [("La.", "No.", None)]),
            (
                "\n\nHuman: Hi \n\nAssistant: Hello \n\nHuman: Bye \n\nAssistant: ",
                [("Bye.", "See you.", 0.0)],
            ),
        ],
    ),
    (  # scores 52 and 3, 21 and 4, 10 and 10
        "shp.jsonl",
        "",
        [
            ("Why is my bread flat?", [("Old yeast.", "Magic.", 49.0)]),
            ("Best flour?", [("Strong bread flour.", "Any.", 17.0)]),
            ("Can I freeze dough?", [("Yes, at once.", "Yes.", 0.0)]),
        ],
    ),
    (
        "lone_response.jsonl",
        "",
        [("What is 1+1?", ["2"]), ("Hi", ["Hello"]), ("Sing.", ["La la."])],
    ),
    (
        "lone_completion.jsonl",
        "",
        [("The sky is", [" blue."]), ("Grass is", [" green."]), ("Hi", ["Hello"])],
    ),
    (
        "lone_messages.jsonl",
        "",
        [
            ("Hi", ["Hello"]),
            ("system: Rhyme.\n\nuser: Cat?", ["Hat."]),
            ("user: A\n\nassistant: B\n\nuser: C", ["D"]),
        ],
    ),
    ("lone_lists.jsonl", "", [("Q1", ["only one"]), ("Q2", ["another"]), ("Q3", ["third"])]),
    (
        "lone_alpaca.json",
        "",
        [
            ("Give three tips.", ["Eat, sleep, move."]),
            ("Sort.\nb, a", ["a, b"]),
            ("Greet.", ["Hi."]),
        ],
    ),
    (
        "lone_sharegpt.json",
        "",
        [
            ("Hi", ["Hello"]),
            ("user: A\n\nassistant: B\n\nuser: C", ["D"]),
            ("system: Be brief.\n\nuser: Why?", ["So."]),
        ],
    ),
    (
        "excel_german.csv",
        GERMAN,
        [
            ("Was heißt 1;1?", [("Zwei, glaube ich", "Müll", 2.0)]),
            ("Was kostet es?", [("Acht €", "Nichts;\r\ngar nichts", 1.0)]),
            ("Übel?", [("Nein", "Ja", 3.0)]),
        ],
    ),
    (
        "excel_sep.csv",
        "",
        [
            ("Pi, roughly?", [("3,14", "4", None)]),
            ("E?", [("2,72", "3", None)]),
            ("Two?", [("2,0", "1,0", None)]),
        ],
    ),
    (
        "excel_unicode.csv",
        "",
        [
            ("Что это?", [("Чай", "Ничего", None)]),
            ("日本の首都は?", [("東京", "京都", None)]),
            ("Café?", [("Oui", "Non", None)]),
        ],
    ),
    (
        "bars.csv",
        "",
        [
            ("What, now?", [("Wait; rest", "Run", None)]),
            ("Where?", [("There, maybe", "Here", None)]),
            ("When?", [("Now", "Now!", 0.0)]),
        ],
    ),
    (
        "nested.jsonl",
        NESTED,
        [
            ("Capital of Peru?", [("Lima", "Cusco", 1.5)]),
            ("3*3?", [("9", "6", 3.0)]),
            ("Hot?", [("Yes", "No", 0.0)]),
        ],
    ),
    (
        "own_names.jsonl",
        OWN,
        [
            ("Hi?", [("Hello", "Go", 4.0)]),
            ("Time?", [("Noon", "No", 2.0)]),
            ("Bye?", [("Bye", "Stay", 1.0)]),
        ],
    ),
]


def facts(group: Group) -> list[Fact]:
    """What is known of a group's responses; a tie names them as they stand."""
    known: list[Fact] = []
    for c in group.known_comparisons():
        known.append((group.responses[c.chosen], group.responses[c.rejected], c.strength))
    known += [(group.responses[i], label) for i, label in group.known_labels()]
    return known or list(group.responses)


@pytest.mark.parametrize(
    ("name", "options", "expected"), CASES, ids=[f"{name} {o}".strip() for name, o, _ in CASES]
)
def test_a_file_is_read_as_it_is_or_with_one_option(
    name: str, options: str, expected: Rows
) -> None:
    args = command_line().parse_args(["check", str(FILES / name), *shlex.split(options)])
    ledger = Ledger()
    groups = load_groups(args.data, ledger=ledger, **_reading(args))
    assert [prompt_text(group.prompt) for group in groups] == [prompt for prompt, _ in expected]
    for group, (_, known) in zip(groups, expected, strict=True):
        assert sorted(map(str, facts(group))) == sorted(map(str, known))
    assert ledger.dropped == 0


ODD = (
    None,
    "",
    " ",
    5,
    -1e308,
    float("nan"),
    True,
    [],
    {},
    [None],
    [5],
    ["x"],
    [{}],
    [[]],
    "[",
    {"a": 1},
)

PROMPTS = [(name, rows[0][0]) for name, _, rows in CASES]
JSON_FILES = sorted({name for name, options, _ in CASES if not options and "csv" not in name})


@pytest.mark.parametrize("name", JSON_FILES)
def test_odd_values_cost_their_row_and_no_other(name: str, tmp_path: Path) -> None:
    """Behind a good row, the next one with each odd value in each of its columns."""
    first, second, *_ = [row.values for row in read_rows(FILES / name)]
    assert second is not None
    rows = [first, *({**second, column: odd} for column, odd in product(second, ODD))]
    path = tmp_path / Path(name).name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    described = FILES / name
    if (described.parent / "dataset_info.json").exists():
        shutil.copy(described.parent / "dataset_info.json", tmp_path)
    ledger = Ledger()
    groups = list(read(path, ledger=ledger))
    assert prompt_text(groups[0].prompt) == dict(PROMPTS)[name]
    assert (ledger.total, ledger.count("unreadable")) == (len(rows), 0)
    assert ledger.dropped > len(ODD) / 2
