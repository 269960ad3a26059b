"""The command line: `rewarddiff COMMAND …`.

Exit status: 0 done, 2 the user's input is at fault (one line names the place and the mend), 130
interrupted, 1 anything else. What a command needs is imported when it runs, so that help is
immediate.

arguments  what each command takes
parser     how it is parsed: errors in one line, overrides among options
looking    what a command names is looked for before anything heavy is imported
commands   what each command does
completion scripts for shells
failing    one line for whatever goes wrong, its traceback kept
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence

from rewarddiff import launch
from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.failing import (
    ended,
    failed,
    failed_elsewhere,
    kept,
    mute_stdout,
    terminations_as_interrupts,
)
from rewarddiff.cli.looking import look_first
from rewarddiff.cli.parser import parsed
from rewarddiff.errors import FailedElsewhere, TrainingError, UserError
from rewarddiff.writing import PrintableFormatter, guarded, say

CONTINUES = (
    "demo",
    "run",
    "sweep",
    "train",
    "baseline",
    "score",
    "weigh",
    "judge",
    "lab online",
    "lab offline",
)
"""Commands that go on where they stopped when they are run again."""

TOGETHER = (
    "demo",
    "run",
    "sweep",
    "train",
    "augment",
    "baseline",
    "score",
    "weigh",
    "eval",
    "bestof",
)
"""Commands that processes which a launcher has started carry out together."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    with guarded():
        return _done(argv)


def _done(argv: Sequence[str] | None) -> int:
    if argv is None:
        argv = sys.argv[1:]
    parser = command_line()
    if not argv:
        parser.print_help()
        return 0
    args = parsed(parser, argv)
    if launch.size() > 1 and not _is_for_all(args):
        return 0
    _log_to_stderr()
    _quiet_libraries()
    _allow_large_pages()
    launch.forget_plugins()
    try:
        with terminations_as_interrupts():
            look_first(args)
            args.handler(args)
            sys.stdout.flush()
    except FailedElsewhere as error:
        return failed_elsewhere(error, debug=args.debug)
    except UserError as error:
        return failed(error, str(error), 2, debug=args.debug)
    except TrainingError as error:
        return failed(error, f"stopped: {error}", 1, debug=args.debug)
    except KeyboardInterrupt:
        hint = ": run the same command again to continue" if args.command in CONTINUES else ""
        return ended(f"interrupted{hint}", 130)
    except BrokenPipeError:  # the reader of our output has gone
        mute_stdout()
        return 1
    except Exception as error:
        return _unexpected(args, error)
    return 0


def _is_for_all(args: Namespace) -> bool:
    """Whether this process, one of several, has a part in a command; the main one may have all of it."""
    if args.command in TOGETHER and not getattr(args, "print", False):
        return True
    if not launch.is_main():
        return False
    others = launch.size() - 1
    launch.stay_alone()
    if args.command not in TOGETHER:
        say(f"{args.command}: is done by one process; {others} have nothing to do", error=True)
    return True


def _unexpected(args: Namespace, error: Exception) -> int:
    # What fails in a command's own output is a UserError: a full disk without a name is stdout's.
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        mute_stdout()
        message = "standard output: cannot be written (its disk is full); free some space"
        return failed(error, message, 2, debug=args.debug)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = os.fsdecode(error.filename or "")
        message = f"{name[:60]}…: longer than any file's name; check what names a file here"
        return failed(error, message, 2, debug=args.debug)
    if isinstance(error, ValueError) and str(error) == "embedded null byte":
        message = "a name holds a NUL, which no file's can; check what names a file here"
        return failed(error, message, 2, debug=args.debug)
    message = type(error).__name__
    if str(error):
        message = f"{message}: {error}"
    if not args.debug:
        message = f"{message} ({kept(error)})"
    return failed(error, message, 1, debug=args.debug)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.addFilter(lambda _: launch.is_main())
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("rewarddiff").setLevel(logging.INFO)
    for name in ("datasets", "huggingface_hub"):  # they print what they log themselves
        logging.getLogger(name).propagate = False


def _allow_large_pages() -> None:
    """Let torch ask for pages of 2 MB for large tensors: less than half of the faults of a first step."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _quiet_libraries() -> None:
    """Hold back the libraries' bars and deprecation notes: a run has its own progress."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", "OMP_NUM_THREADS", UserWarning, "accelerate")
    for module in ("transformers", "peft", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
