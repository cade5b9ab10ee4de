"""Images in class folders, or in an archive of them, decoded once and cached.

The layout is ``train/<class>/<image>`` and ``test/<class>/<image>``, possibly all below one folder, as in
``cifar10/train/airplane/0000.jpg``. Nothing of an archive is written to disk, and the names in it serve as names only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from experiments.data import DATA, STAND_INS, Arrays, StandIn
from experiments.data.arrays import content_hash, one_line
from experiments.errors import RunFailure, WrongInput

STAND_INS["image_folder"] = StandIn(channels=3, size=32, classes=10)

PARTS = ("train", "test")
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
NEEDED = f"needed are train/<class>/<image> and test/<class>/<image>, where an image ends in {' '.join(ENDINGS)}"

CACHE_VERSION = 1
"""Raised when the same images shall give another cache."""

Kind: TypeAlias = Literal["folder", "file", "other"]
Found: TypeAlias = tuple[tuple[str, ...], Kind, Any]
"""One thing in a folder or archive: the components of its name, its kind, and its place: what is needed to read it."""
Images: TypeAlias = dict[tuple[str, str, str], Any]
"""Place by (part, class, file name), in the order in which they are best read."""


@DATA.register("image_folder")
def image_folder(
    seed: int,
    *,
    root: str | None = None,
    cache: str | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
) -> Arrays:
    """Images (channels, height, width), all of one size; the classes are the folders' names, sorted.

    Within each part the samples lie in the order of class and file name. Files that are no images by their ending and
    hidden files are ignored. Of an animated image the first frame counts.

    Args:
        seed: not used, the data are fixed.
        root: the folder that holds train/ and test/, or a .tar, .tar.gz, .tgz or .zip of it.
        cache: folder for the decoded images; null: batchnorm-suite under $XDG_CACHE_HOME or ~/.cache. It holds one
            file per root and options, made anew when the archive's size or modification time, or those of any image
            in the folder, change, or when it is damaged. It can be deleted at any time.
        image_size: every image is resized (Pillow, bilinear, anti-aliased) to this many pixels square, whatever its
            proportions; null: all must be of one size already.
        channels: 1 (grey) or 3 (colour), every image is converted; null: all must be of one kind already, 8-bit grey
            or RGB.

    Raises:
        WrongInput: one line that names the file, folder or option, and what is allowed.
        RunFailure: the cache cannot be written, for example because the disk is full.
    """
    if root is None:
        raise WrongInput(
            "data.root: must be given: a folder with train/ and test/, or a .tar, .tar.gz, .tgz or .zip of it"
        )
    if image_size is not None and image_size < 1:
        raise WrongInput(f"data.image_size={image_size}: must be a whole number of at least 1, or null")
    key, path = f"data.root={root}", Path(os.path.abspath(Path(root).expanduser()))
    if not path.exists():
        raise WrongInput(f"{key}: no such folder or archive ({path}); digits and gaussian need no files")
    ending = "" if path.is_dir() else next((e for e in ARCHIVES if path.name.lower().endswith(e)), None)
    if ending is None:
        raise WrongInput(f"{key}: must be a folder, or an archive whose name ends in {', '.join(ARCHIVES)}")
    label = path.name[: len(path.name) - len(ending)]
    with _reading(key):
        folder = list(_walk(path, ())) if path.is_dir() else None
        state = [path.stat().st_size, path.stat().st_mtime_ns] if folder is None else _states(folder)
    options = [str(path), image_size, channels]

    def build() -> Arrays:
        opened = _folder(folder) if folder is not None else _zip(path) if ending == ".zip" else _tar(path)
        with _reading(key), opened as (things, read):
            return _decode(key, label, _arrange(key, things), read, image_size, channels)

    file = _cache_folder(cache) / f"{label}-{_digest(options)[:16]}.npz"
    return replace(_cached(file, _digest([CACHE_VERSION, options, state]), build), label=label)


# What is there, and how it is read


def _walk(folder: Path, name: tuple[str, ...]) -> Iterator[Found]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        inside = (*name, entry.name)
        if _hidden(inside):
            continue
        yield inside, "folder" if entry.is_dir() else "file" if entry.is_file() else "other", Path(entry.path)
        # one folder below the root is looked into for train/ and test/; beside those, nothing deeper matters
        if entry.is_dir() and (len(inside) == 1 or set(inside[:2]) & set(PARTS)) and len(inside) < 4:
            yield from _walk(Path(entry.path), inside)


def _states(folder: list[Found]) -> list[Any]:
    images = [(name, place.stat()) for name, kind, place in folder if kind == "file" and _is_image(name)]
    return sorted(["/".join(name), state.st_size, state.st_mtime_ns] for name, state in images)


@contextmanager
def _folder(things: list[Found]) -> Iterator[tuple[list[Found], Callable[[Any], bytes]]]:
    yield things, Path.read_bytes


@contextmanager
def _tar(path: Path) -> Iterator[tuple[list[Found], Callable[[Any], bytes]]]:
    with tarfile.open(path) as archive:
        things: list[Found] = [
            (_components(member.name), "folder" if member.isdir() else "file" if member.isreg() else "other", member)
            for member in archive.getmembers()
        ]
        # tarfile takes a damaged or missing header for the end, and the rest of the images would silently be missing
        stream = archive.fileobj
        assert stream is not None
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it breaks off before its end")
        while stream.read(1 << 20):  # gzip compares its checksum only at the very end
            pass

        def read(member: tarfile.TarInfo) -> bytes:
            file = archive.extractfile(member)
            assert file is not None  # only regular members are read
            return file.read()

        yield things, read


@contextmanager
def _zip(path: Path) -> Iterator[tuple[list[Found], Callable[[Any], bytes]]]:
    with zipfile.ZipFile(path) as archive:
        things: list[Found] = [
            (_components(member.filename), "folder" if member.is_dir() else "file", member)
            for member in archive.infolist()
        ]
        yield things, archive.read


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """Whatever a folder or archive that cannot be read raises becomes one line; a damaged image has its own."""
    try:
        yield
    except (OSError, EOFError, RuntimeError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        # RuntimeError: an encrypted zip, or a compression that Python doesn't know
        raise WrongInput(f"{key}: cannot be read, or is damaged: {one_line(error)}") from error


def _components(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _hidden(name: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name)


def _is_image(name: tuple[str, ...]) -> bool:
    return name[-1].lower().endswith(ENDINGS)


def _arrange(key: str, things: list[Found]) -> Images:
    """The images among ``things`` by part, class and file name.

    Raises:
        WrongInput: a part is missing, no images, an empty class, classes that differ between train and test, images
            elsewhere in train/ or test/.
    """
    things = [thing for thing in things if thing[0] and not _hidden(thing[0])]
    tops = {name[:1] for name, _, _ in things if len(name) > 1 and name[1] in PARTS}
    if any(name[0] in PARTS for name, _, _ in things):
        tops = {()}
    if len(tops) > 1:
        raise WrongInput(f"{key}: train/ and test/ lie in several folders: {_some({top[0] for top in tops})}")
    top = next(iter(tops), ())
    images: Images = {}
    classes: dict[str, set[str]] = {}
    for name, kind, place in things:
        if name[: len(top)] != top or len(name) == len(top) or (kind != "folder" and not _is_image(name)):
            continue
        part, *below = name[len(top) :]
        if part not in PARTS:
            continue
        if len(below) != 2 if kind != "folder" else len(below) > 1:
            raise WrongInput(f"{key}: {'/'.join(name)}: images must lie directly in {part}/<class>/")
        if kind == "other":
            raise WrongInput(f"{key}: {'/'.join(name)}: not a plain file, or a link to none")
        classes.setdefault(part, set()).update(below[:1])
        if kind == "file":
            images[part, below[0], below[1]] = place
    for part in PARTS:
        if part not in classes:
            raise WrongInput(f"{key}: has no {part}/; {NEEDED}")
        if not any(image[0] == part for image in images):
            raise WrongInput(f"{key}: no images in {part}/; {NEEDED}")
    train, test = (classes[part] for part in PARTS)
    if train != test:
        alone = [
            f"only in {part}/: {_some(names)}"
            for part, names in zip(PARTS, (train - test, test - train), strict=True)
            if names
        ]
        raise WrongInput(f"{key}: train/ and test/ must have the same classes; {'; '.join(alone)}")
    empty = {(part, name) for part in PARTS for name in train} - {image[:2] for image in images}
    if empty:
        raise WrongInput(f"{key}: no images in {_some({'/'.join(name) for name in empty})}; {NEEDED}")
    return images


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# Decoding


def _decode(
    key: str, label: str, images: Images, read: Callable[[Any], bytes], image_size: int | None, channels: int | None
) -> Arrays:
    order = {image: index for index, image in enumerate(sorted(images, key=lambda image: (image[0] == "test", image)))}
    pixels = np.empty(0, np.uint8)
    first = ""
    for image, place in tqdm(images.items(), desc=f"decoding {label}", unit="image", disable=None):
        name = "/".join(image)
        decoded = _decode_image(f"{key}: {name}", read(place), image_size, channels)
        if not first:
            pixels, first = np.empty((len(images), *decoded.shape), np.uint8), name
        if decoded.shape != pixels.shape[1:]:
            raise WrongInput(f"{key}: {_unequal(name, decoded.shape, first, pixels.shape[1:])}")
        pixels[order[image]] = decoded
    classes = tuple(sorted({name for _, name, _ in images}))
    labels = torch.tensor([classes.index(name) for _, name, _ in order])
    split = sum(part == "train" for part, _, _ in order)
    inputs = torch.from_numpy(pixels)
    contents = (inputs[:split], labels[:split], inputs[split:], labels[split:])
    return Arrays(*contents, classes, content_hash(*contents, classes))


def _decode_image(where: str, data: bytes, image_size: int | None, channels: int | None) -> np.ndarray:
    """uint8 (channels, height, width)."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode.startswith(("I", "F")):
                raise WrongInput(f"{where}: has mode {image.mode}; only images of 8 bits per channel can be used")
            if channels is None and image.mode not in ("L", "RGB"):
                raise WrongInput(
                    f"{where}: has mode {image.mode}, not grey (L) or RGB; data.channels=1 or 3 converts it"
                )
            mode = image.mode if channels is None else {1: "L", 3: "RGB"}[channels]
            converted: Image.Image = image if image.mode == mode else image.convert(mode)
            if image_size is not None and converted.size != (image_size, image_size):
                converted = converted.resize((image_size, image_size), Image.Resampling.BILINEAR)
            values = np.asarray(converted)
    except WrongInput:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        reason = "" if isinstance(error, UnidentifiedImageError) else f": {one_line(error)}"
        raise WrongInput(f"{where}: not a readable image{reason}") from error
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _unequal(name: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> str:
    if shape[0] != expected[0]:
        kinds = {1: "grey", 3: "RGB"}
        return f"{name} is {kinds[shape[0]]} but {first} is {kinds[expected[0]]}; data.channels=1 or 3 converts all"
    return (
        f"{name} has {shape[2]}x{shape[1]} pixels but {first} has {expected[2]}x{expected[1]}; "
        "data.image_size=<pixels> resizes all"
    )


# The cache


def _cache_folder(cache: str | None) -> Path:
    if cache is not None:
        return Path(cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batchnorm-suite"


def _cached(file: Path, state: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays in ``file`` if they belong to ``state``, else newly built ones, which are then in ``file``."""
    arrays = _load(file, state)
    if arrays is not None:
        return arrays
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):  # the runs of a sweep start together; one decodes, the others wait
            arrays = _load(file, state)
            if arrays is None:
                arrays = build()
                _save(file, state, arrays)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise WrongInput(f"data.cache={file.parent}: cannot be written: {error}; give another folder") from error
    except OSError as error:
        raise RunFailure(f"data.cache={file.parent}: the decoded images could not be written: {error}") from error
    return arrays


def _save(file: Path, state: str, arrays: Arrays) -> None:
    temporary = file.with_name(file.name + ".tmp")  # under the lock there is one writer
    try:
        with temporary.open("wb") as stream:
            np.savez(
                stream,
                header=np.array(json.dumps([state, arrays.fingerprint, arrays.classes])),
                **{name: getattr(arrays, name).numpy() for name in _ARRAYS},
            )
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _load(file: Path, state: str) -> Arrays | None:
    """None if there is no such cache, or of another state, or it is damaged (the format has a checksum)."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            saved, fingerprint, classes = json.loads(str(stored["header"]))
            if saved != state:
                return None
            contents = [torch.from_numpy(stored[name]) for name in _ARRAYS]
            return Arrays(contents[0], contents[1], contents[2], contents[3], tuple(classes), fingerprint)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, zipfile.BadZipFile):
        return None


_ARRAYS = ("inputs_train", "targets_train", "inputs_test", "targets_test")


def _digest(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
