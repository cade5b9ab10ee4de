"""The two ways in which looking at runs can end badly, told apart by the exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WrongInput(ValueError):
    """The person who asked must change something: a path, a name or a choice. Exit code 2, one line, no traceback."""


class DamagedFile(RuntimeError):
    """A file of a run folder cannot be understood. The line names it, and says what would help. Exit code 1."""


def near_miss(name: str, allowed: Iterable[str]) -> str:
    """The end of an error line about an unknown name: the nearest allowed name, if any, and all of them."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.6)
    close = close or [other for other in allowed if name and other.startswith(str(name))]  # only its beginning
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"
