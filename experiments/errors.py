"""The ways in which a run can end badly, told apart by the exit code."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path


class WrongInput(ValueError):
    """The person who asked must change something: a key, a value or a file. Exit code 2, one line, no traceback."""


class MissingFile(WrongInput):
    """A file that was named is not there. Another run may be about to leave it.

    Args:
        line: what to say.
        path: where it would be.
    """

    def __init__(self, line: str, path: Path) -> None:
        super().__init__(line)
        self.path = path


class RunFailure(RuntimeError):
    """What was asked for was right, but could not be carried out: a full disk, a damaged file. Exit code 1."""


class Interrupted(KeyboardInterrupt):
    """A run or a sweep was asked to stop by a signal, and saved what it did. Exit code 128 + the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())


def near_miss(name: str, allowed: Iterable[str], nearest: Sequence[str] = ()) -> str:
    """The end of an error line about an unknown name: the nearest allowed name, if any, and all of them.

    Args:
        name: what was typed.
        allowed: all names.
        nearest: those that are meant as likely, where the caller knows; else found among ``allowed``.
    """
    allowed = sorted(allowed)
    close = nearest or difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.6)
    close = close or [other for other in allowed if name and other.startswith(str(name))][:1]  # only its beginning
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"
