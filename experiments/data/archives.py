"""Archives of images, unpacked safely into a temporary folder."""

from __future__ import annotations

import errno
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.data.arrays import in_words
from experiments.errors import RunFailure, WrongInput

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
"""How their names end."""


@contextmanager
def opened(key: str, path: Path) -> Iterator[Path]:
    """The folder itself, or a temporary one with what an archive holds.

    Raises:
        WrongInput: the archive cannot be read, is damaged, or would write or link to places outside.
        RunFailure: there is no room to unpack it.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        try:
            _unpack(path, folder)
        except (OSError, EOFError, RuntimeError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
            # RuntimeError: an encrypted zip, or a compression that Python doesn't know
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise RunFailure(f"{key}: cannot be unpacked into {folder}: {in_words(error)}; set TMPDIR") from error
            raise WrongInput(f"{key}: cannot be read, or is damaged: {in_words(error)}") from error
        _split_at_backslashes(key, Path(folder))
        yield Path(folder)


def _unpack(path: Path, folder: str) -> None:
    if path.name.lower().endswith(".zip"):
        shutil.unpack_archive(path, folder, "zip")
        return
    if not hasattr(tarfile, "data_filter"):
        raise tarfile.ReadError("Python 3.11.4 or later is needed to unpack it safely; or give the folder")
    shutil.unpack_archive(path, folder, "tar", filter="data")
    # tarfile takes a damaged or missing header for the end, and the rest of the images would silently be missing
    with tarfile.open(path) as archive:
        archive.getmembers()
        stream = archive.fileobj
        assert stream is not None
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it breaks off before its end")
        while stream.read(1 << 20):  # gzip compares its checksum only at the very end
            pass


def _split_at_backslashes(key: str, folder: Path) -> None:
    """Moves what an archive made on Windows calls ``train\\cat\\0.png`` to where that is meant to lie.

    Raises:
        WrongInput: it would lie outside, or where something else lies.
    """
    for path in sorted(folder.rglob("*\\*"), reverse=True):  # what lies within a folder before the folder
        parts = [part for part in path.name.split("\\") if part not in ("", ".")]
        target = path.parent.joinpath(*parts)
        if ".." in parts or (target.exists() and not target.is_dir()):
            raise WrongInput(f"{key}: {path.relative_to(folder)}: leads outside, or to another file of the archive")
        if path.is_dir() or path.name.endswith("\\"):  # a folder; an empty file, as zip tells folders by a slash
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
