"""The page's life: its folder, its address, its links, and its end."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib.resources import files as resources
from pathlib import Path

from rewarddiff.annotate.app import Application
from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.project import open_project, require_project, tokens_of
from rewarddiff.annotate.records import Pair
from rewarddiff.annotate.votes import Votes
from rewarddiff.errors import UserError
from rewarddiff.listening import LOOPBACK, bound, serve_until_signal, settings_of
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.writing import counted, say

LAST_SECONDS = 10
"""For what is being answered when the server is ended."""

HTTP_PORT = 80
ANYWHERE = ("0.0.0.0", "::")


def annotate(
    pairs: Sequence[Pair],
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    annotators: int | None = None,
    steps: int | None = None,
    config: AnnotateConfig | None = None,
) -> None:
    """Serve the page of a project until a signal ends it; every vote that was acknowledged is kept.

    Args:
        pairs: what is compared; none: what the project in the folder has.
        port: 0: any that is free.
        annotators: who get a link; None: as many as the project has, or 3.
        steps: of the scale, 5 or 7; None: as the project has it, or 7.

    Raises:
        UserError: the folder is another project's, or the address cannot be had.
    """
    config = config or AnnotateConfig()
    if host in ANYWHERE and not config.names:
        raise UserError(
            f"--host {host}: say by which names the page is reached, as names=[192.168.1.5]"
        )
    guidelines = _guidelines(config)
    require_project(folder, pairs)
    # The folder is touched last: what is refused before leaves nothing behind.
    with bound(host, port) as listener, run_folder_for(folder):
        names = _names(listener, host, config)
        votes = open_project(folder, pairs, annotators=annotators, steps=steps, config=config)
        try:
            application = Application(
                votes, frozenset(names), guidelines, https=config.https, rate=config.rate
            )
            _run(application, votes, listener, names[0], config)
        finally:
            votes.close()
    say(f"stopped: every vote is in {votes.path}")


def _run(
    application: Application,
    votes: Votes,
    listener: socket.socket,
    name: str,
    config: AnnotateConfig,
) -> None:
    settings = settings_of(application.starlette(), LAST_SECONDS)
    scheme = "https" if config.https else "http"
    serve_until_signal(settings, listener, announcement(votes, f"{scheme}://{name}"))


def announcement(votes: Votes, address: str) -> list[str]:
    """Return what is said once the page can be reached: each annotator's link, and what is done."""
    [items] = votes.rows("SELECT count(*) AS count FROM items")
    steps = votes.settings()["scale"]
    lines = [f"{counted(items['count'], 'pair')}, {steps} steps  votes in {votes.path}"]
    for name, token in tokens_of(votes).items():
        progress = votes.progress(name)
        lines.append(f"{name}  {address}/enter/{token}  {progress.done} of {progress.total}")
    lines.append("a link is a key: give each to its annotator alone")
    return lines


def _names(listener: socket.socket, host: str, config: AnnotateConfig) -> list[str]:
    """Return the hosts by which the page is asked for; that of its links comes first."""
    port = listener.getsockname()[1]
    names = []
    for name in map(str.lower, config.names):
        with_port = f"{name}:{port}"
        # The first is that of the links: a proxy hides the port.
        names += [name, with_port] if config.https else [with_port, name]
    if host not in ANYWHERE:
        names.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if host in LOOPBACK:
        names += [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
    if port == HTTP_PORT:  # which browsers leave out
        names += [name.removesuffix(f":{port}") for name in names]
    return list(dict.fromkeys(names))


def _guidelines(config: AnnotateConfig) -> str:
    """Return the text for annotators."""
    if config.guidelines is None:
        return (resources("rewarddiff.annotate") / "templates" / "guidelines.md").read_text("utf-8")
    path = user_path(config.guidelines)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(
            f"{path}: cannot be read ({cause}); name a text file with guidelines="
        ) from error
