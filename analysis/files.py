"""Files that are written whole or left as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace(path: Path, save: Callable[[Path], Any]) -> Path:
    """`path`, written whole by `save` or left as it was."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
