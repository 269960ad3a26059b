"""`weigh` by a judge behind a server: what it was asked before a failure is not asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scorers.chat_server import MODEL, Body, Handler, serving
from scorers.judge_stubs import honest, saying

from rewarddiff.errors import UserError
from rewarddiff.pipeline.scoring import WeighConfig, weigh_dataset

PAIRS = 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"Prompt {i}", "chosen": f"quality={9 - i % 3}", "rejected": f"quality={i % 5}"}
        for i in range(PAIRS)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_what_a_judge_has_answered_is_kept_when_its_server_goes_down(
    data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "weighted.jsonl"
    with serving(saying(honest)) as server:
        scorer = f"{MODEL}@{server.url}"

        def closed(handler: Handler, number: int, answer: Body) -> bool:
            if number < PAIRS:
                return False
            handler.send_error(403)
            return True

        server.fault = closed
        with pytest.raises(UserError, match="status 403"):
            weigh_dataset(scorer, data, output, WeighConfig())
        assert not output.exists()
        server.fault = None
        asked_before = server.calls
        weigh_dataset(scorer, data, output, WeighConfig())
        # Two orders of every pair, of which PAIRS were answered before the server went down.
        assert server.calls - asked_before == 2 * PAIRS - PAIRS
        assert len(output.read_text().splitlines()) == PAIRS
        assert not output.with_name("weighted.parts").exists()
