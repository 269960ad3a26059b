"""Watches what a Python process executes, opens and calls, where `HOSTILE_LOG` names a file.

Python imports this by itself where its folder is on the path, so that the processes which a process
starts are watched as well. What is seen is written by `os.write`, which no audit hook is told of.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill")

STARTS = ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.Popen")

FORBIDDEN = (
    "sqlite3.enable_load_extension", "sqlite3.load_extension", "webbrowser.open", "ftplib.connect", "smtplib.connect",
    "socket.gethostbyname", "socket.getaddrinfo", "urllib.Request", "pickle.find_class",
)  # fmt: skip


def seen(event: str, args: tuple[Any, ...], root: str) -> str:
    """Return what an event does that nothing hostile may bring about; empty: it is harmless."""
    if event in ("exec", "compile"):
        name = args[0].co_filename if event == "exec" else args[1]
        return f"{event} {name}" if root in str(name) else ""
    if event == "import":
        file = args[1]
        return f"import {args[0]}" if file and root in str(file) else ""
    if event in STARTS:
        command = [os.fspath(part) for part in args[1]] if event == "subprocess.Popen" else args
        # The one process of ours: that which renders chat templates.
        return "" if "rewarddiff.rendering" in command else f"{event} {command}"
    if event == "open" and isinstance(args[0], str) and args[0].endswith(PICKLES):
        return f"open {args[0]}" if root in args[0] else ""
    if event == "ctypes.dlopen":
        return f"dlopen {args[0]}" if root in str(args[0]) else ""
    if event in ("socket.connect", "socket.getaddrinfo") and _is_the_hub(event, args):
        return ""
    if event == "socket.connect":
        return f"connect {args[1]}"
    return f"{event} {args}" if event in FORBIDDEN else ""


def _is_the_hub(event: str, args: tuple[Any, ...]) -> bool:
    """Tell whether a connection goes to the stand-in of the hub."""
    hub = urlsplit(os.environ.get("HOSTILE_HUB", ""))
    host, port, *_ = args[1] if event == "socket.connect" else args
    return (host, port) == (hub.hostname, hub.port)


def watch(log: str, root: str) -> None:
    """Write down from now on what is seen."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        what = seen(event, args, root)
        if what:
            os.write(file, f"{what[:300]}\n".encode(errors="replace"))

    sys.addaudithook(hook)


if "HOSTILE_LOG" in os.environ:
    watch(os.environ["HOSTILE_LOG"], os.environ["HOSTILE_ROOT"])
