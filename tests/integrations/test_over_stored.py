"""Rewards over a stored baseline: the same numbers from a server, TRL's and verl's functions, and the
functions of `rewards` themselves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
import uvicorn

from rewarddiff.errors import UserError
from rewarddiff.integrations import verl
from rewarddiff.integrations.trl import reward_function
from rewarddiff.pipeline.baseline import BaselineConfig, draw_baseline
from rewarddiff.records import Group
from rewarddiff.rewards import contrastive, contrastive_difference
from rewarddiff.rewards.stored import read_baseline
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.opening import fingerprint_of
from rewarddiff.scorers.over_baseline import against
from rewarddiff.serve.app import Application
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.server import opened

PROMPTS = ["Name a colour.", "2 + 2?", "Name a colour.", "Name a colour."]
COMPLETIONS = [" Red.", " 4", " No", " I would say blue."]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    return path


@pytest.fixture(params=["reward", "difference"])
def scorer(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{request.param}_folder"))


@pytest.fixture
def baseline_file(scorer: Path, prompts: Path, policy_folder: Path, tmp_path: Path) -> Path:
    output = tmp_path / "baseline.jsonl"
    draw_baseline(prompts, policy_folder, scorer, output, BaselineConfig(max_new_tokens=8))
    return output


def direct(folder: Path, file: Path) -> list[float]:
    """The rewards by the functions themselves, of each completion alone."""
    scorer, stored = load_scorer(folder), read_baseline(file)
    rewards = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        of_prompt = stored.of(prompt)
        if of_prompt.scores is not None:
            (r,) = scorer.rewards([Group("", prompt, (completion,))])  # type: ignore[attr-defined]
            rewards += contrastive(r, of_prompt.scores).tolist()
        else:
            group = Group("", prompt, (completion, *of_prompt.responses))
            (d,) = scorer.differences([group], [against(1, len(of_prompt.responses))])
            rewards += contrastive_difference(d, 1).tolist()
    return rewards


@contextmanager
def served(folder: Path, file: Path) -> Iterator[str]:
    """Serve a scorer over a baseline on loopback, as `rewarddiff serve` does; yield the URL."""
    application = Application(opened(folder, file), ServeConfig(), None)
    options = uvicorn.Config(application.starlette(), log_config=None, ws="none")
    server = uvicorn.Server(options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


def test_served_integrated_and_direct_rewards_are_equal_to_the_bit(
    scorer: Path, baseline_file: Path
) -> None:
    expected = direct(scorer, baseline_file)
    assert len(set(expected)) == 4
    function = reward_function(scorer, stored=baseline_file, allow_cancelling=True)
    assert function(prompts=PROMPTS, completions=COMPLETIONS) == expected
    assert verl.scores(str(scorer), PROMPTS, COMPLETIONS, str(baseline_file)) == expected
    for prompt, completion, reward in zip(PROMPTS, COMPLETIONS, expected, strict=True):
        scored = verl.compute_score(
            "hh", completion, "", {"prompt": prompt}, scorer=str(scorer), stored=str(baseline_file)
        )
        assert scored == {"score": reward}
    with served(scorer, baseline_file) as url:
        groups: dict[str, list[str]] = {}
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
            groups.setdefault(prompt, []).append(completion)
        rows = [{"prompt": prompt, "responses": texts} for prompt, texts in groups.items()]
        answer = httpx2.post(f"{url}/score", json={"rows": rows}, timeout=60).json()
    by_completion: dict[tuple[str, str], float] = {}
    for row, scores in zip(rows, answer["scores"], strict=True):
        for text, score in zip(row["responses"], scores, strict=True):
            by_completion[str(row["prompt"]), text] = score
    assert [by_completion[key] for key in zip(PROMPTS, COMPLETIONS, strict=True)] == expected


def test_what_is_served_over_another_baseline_has_another_fingerprint(
    reward_folder: Path, tmp_path: Path
) -> None:
    """Equal fingerprints promise equal numbers, and clients keep answers under them."""
    files = []
    for number, text in enumerate(("x", "y", "x")):
        files.append(tmp_path / f"{number}.jsonl")
        files[-1].write_text(json.dumps({"prompt": "p", "responses": [text]}) + "\n")
    prints = [opened(reward_folder, file).fingerprint for file in files]
    plain = opened(reward_folder).fingerprint
    assert plain == fingerprint_of(reward_folder)
    assert len({plain, *prints}) == 3
    assert prints[0] == prints[2]


def test_trl_is_told_that_it_cancels_the_baseline_of_a_reward_model(
    reward_folder: Path, difference_folder: Path, prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.jsonl"
    draw_baseline(prompts, policy_folder, reward_folder, file, BaselineConfig(max_new_tokens=4))
    with pytest.raises(
        UserError, match=r"GRPO and RLOO take the mean .* so that a baseline cancel"
    ):
        reward_function(reward_folder, stored=file)
    reward_function(difference_folder, stored=file)
    # It does: less the mean of their group, rewards over the baseline are the plain rewards.
    over = reward_function(reward_folder, stored=file, allow_cancelling=True)
    group: dict[str, Any] = {"prompts": PROMPTS[2:], "completions": COMPLETIONS[2:]}
    relative, plain = over(**group), reward_function(reward_folder)(**group)
    assert relative[0] - relative[1] == pytest.approx(plain[0] - plain[1], abs=1e-12)
    assert relative[0] != plain[0]


def test_a_completion_without_a_baseline_has_no_reward(
    difference_folder: Path, prompts: Path, policy_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.jsonl"
    config = BaselineConfig(max_new_tokens=4, limit=1)
    draw_baseline(prompts, policy_folder, difference_folder, file, config)
    rewards = reward_function(difference_folder, stored=file)(
        prompts=PROMPTS, completions=COMPLETIONS
    )
    assert [reward is None for reward in rewards] == [False, True, False, False]
    with pytest.raises(UserError, match=r"verl: .* no responses to the prompt '2 \+ 2\?'"):
        verl.scores(str(difference_folder), PROMPTS, COMPLETIONS, str(file))


def test_a_prompt_whose_stored_responses_have_no_score_gives_none(
    reward_folder: Path, tmp_path: Path
) -> None:
    """NaN is no reward: TRL leaves None out, and verl is stopped."""
    file = tmp_path / "baseline.jsonl"
    row = {"prompt": PROMPTS[0], "responses": ["x"], "scores": [None]}
    file.write_text(json.dumps(row | {"scorer": fingerprint_of(reward_folder)}) + "\n")
    function = reward_function(reward_folder, stored=file, allow_cancelling=True)
    assert function(prompts=PROMPTS[:1], completions=COMPLETIONS[:1]) == [None]
    with pytest.raises(UserError, match=r"verl: completion 0: .* gives nan, no reward"):
        verl.scores(str(reward_folder), PROMPTS[:1], COMPLETIONS[:1], str(file))
