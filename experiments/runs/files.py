"""Files that are old or new, never half of either; and what is said where one cannot be read or written."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import RunFailure


def write_atomically(path: Path, content: bytes) -> None:
    """Writes ``content`` under a temporary name, syncs and renames: the file is old or new, never half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` as readable JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON file of the run folder, which must be an object with ``keys``.

    Raises:
        RunFailure: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
        if not isinstance(content, dict) or missing:
            raise ValueError(f"has no {missing[0]!r}" if missing else "is no object")
    except (ValueError, TypeError) as error:
        raise RunFailure(f"{path}: damaged ({error}); restore it, or delete the run folder to start anew") from error
    return content


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an error of the disk into one line that names the file and says what is safe."""
    try:
        yield
    except OSError as error:
        file = error.filename or path
        raise RunFailure(
            f"{file}: {error.strerror or error}; the last checkpoint and all records up to it are intact: "
            "mend this and run the same command again"
        ) from error
