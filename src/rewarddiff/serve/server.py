"""A server's life: its address, its scorer, its start-up line, and its end."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from rewarddiff.errors import UserError
from rewarddiff.listening import LOOPBACK, bound, serve_until_signal, settings_of
from rewarddiff.rewards.stored import read_baseline
from rewarddiff.scorers.opening import GRADES, fingerprint_of, open_scorer
from rewarddiff.serve.app import Application
from rewarddiff.serve.baseline import Baseline
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.protocols import PROTOCOLS
from rewarddiff.serve.served import Served
from rewarddiff.store import fingerprint
from rewarddiff.writing import counted, say

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def serve(
    scorer: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    policy_baseline: str | Path | None = None,
    key_env: str | None = None,
    config: ServeConfig | None = None,
) -> None:
    """Serve a scorer until a signal ends it; what was accepted by then is answered.

    Args:
        scorer: a folder, a hub name, …
        port: 0: any that is free.
        policy_baseline: rows of prompt and responses; rewards are mean differences to these.
        key_env: the environment variable with the key that requests must bear.

    Raises:
        UserError: there is no such scorer, key or baseline, or the port is taken.
    """
    if scorer == GRADES:
        raise UserError("grades are the data's own, and what is sent has none: name a model")
    key = None if key_env is None else _key(key_env)
    with bound(host, port) as listener:
        served = opened(scorer, policy_baseline)
        config = config or ServeConfig()
        application = Application(served, config, key)
        settings = settings_of(application.starlette(), config.stop_seconds)
        serve_until_signal(settings, listener, announcement(served, listener, host))
    say(farewell(application.unanswered, config.stop_seconds))


def opened(scorer: str | Path, policy_baseline: str | Path | None = None) -> Served:
    """Return a scorer as it is served; over a baseline its answers have another fingerprint.

    Raises:
        UserError: there is no such scorer or baseline.
    """
    # It is read before the scorer, which takes longer.
    stored = None if policy_baseline is None else read_baseline(policy_baseline)
    of_scorer = fingerprint_of(scorer)
    served = Served(open_scorer(scorer), fingerprint=of_scorer)
    if stored is not None:
        served.baseline = Baseline(stored, served.scorer, served.chat, of_scorer)
        served.fingerprint = fingerprint("over a baseline", of_scorer, stored.content)
    return served


def announcement(served: Served, listener: socket.socket, host: str) -> list[str]:
    """Return what is said once the server can be reached."""
    name, port = listener.getsockname()[:2]
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    routes = ", ".join(f"{protocol.route} ({protocol.serves})" for protocol in PROTOCOLS)
    parts = [f"serving {served.name} at http://{address}", f"fingerprint {served.fingerprint}"]
    if served.baseline is not None:
        least, most = served.baseline.stored.sizes
        responses = f"{most}" if least == most else f"{least} to {most}"
        prompts = counted(len(served.baseline), "prompt")
        parts.append(f"rewards over the responses to {prompts}, {responses} each")
    lines = ["  ".join(parts), f"POST {routes}  GET /health, /metrics"]
    if host not in LOOPBACK:
        lines.append(
            f"{host} can be reached from other machines, and nothing is encrypted: "
            "texts and key are sent as they are"
        )
    return lines


def farewell(unanswered: int, seconds: int) -> str:
    """Return what is said at the end."""
    if not unanswered:
        return "stopped: all that was accepted is answered"
    return (
        f"stopped: {counted(unanswered, 'request')} took longer than the {seconds} s of stop_seconds, "
        "with the answer 503"
    )


def _key(variable: str) -> str:
    """Return the key in an environment variable."""
    key = os.environ.get(variable, "")
    if not key:
        raise UserError(f"--key-env {variable}: no such variable, or an empty one; set it first")
    if key != key.strip() or CONTROL.search(key):
        raise UserError(
            f"--key-env {variable}: begins or ends with a space, or holds a control character, "
            "which no header can bear; set it without"
        )
    return key
