"""Names chosen by pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from experiments.errors import WrongInput, near_miss


def matching(key: str, patterns: str | Sequence[str], names: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """Those of ``names`` that a pattern matches (``conv*``, ``fc[12]``), in their order.

    Args:
        key: where the patterns stand in the configuration, for error lines.
        patterns: one or several, as of a shell; a name is one that matches itself.
        names: all there are.
        also: what else is allowed at this place, for error lines.

    Raises:
        WrongInput: a pattern that matches nothing; the names are listed.
    """
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise WrongInput(f"{key}={pattern}: matches nothing; {near_miss(pattern, [*names, *also])}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
