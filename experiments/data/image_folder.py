"""Images in class folders, or in an archive of them, decoded once and cached.

The layout is ``train/<class>/<image>`` and ``test/<class>/<image>``, possibly all below one folder, as in
``cifar10/train/airplane/0000.jpg``. An archive's images are unpacked into a temporary folder while they are decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from experiments.data import DATA, STAND_INS, Arrays, StandIn
from experiments.data.archives import ARCHIVES, opened
from experiments.data.arrays import content_hash, in_words
from experiments.errors import RunFailure, WrongInput

STAND_INS["image_folder"] = StandIn(channels=3, size=32, classes=10)

PARTS = ("train", "test")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
NEEDED = f"needed are train/<class>/<image> and test/<class>/<image>, where an image ends in {' '.join(ENDINGS)}"

CACHE_VERSION = 2
"""Raised when the same images shall give another cache."""


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
    hidden files are ignored. Of an animated image the first frame counts. Images are turned as their orientation tag
    says. Names count in the composed Unicode form (NFC): some systems and archives store them decomposed.

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
    state = _states(key, path)
    options = [str(path), image_size, channels]

    def build() -> Arrays:
        with opened(key, path) as folder:
            return _decode(key, label, _arrange(key, folder), image_size, channels)

    file = _cache_folder(cache) / f"{label}-{_digest(options)[:16]}.npz"
    return replace(_cached(file, _digest([CACHE_VERSION, options, state]), build), label=label)


# What is there, and how it is read


def _states(key: str, path: Path) -> list[Any]:
    """What changes when the archive, or an image of the folder, does."""
    if path.is_file():
        return [path.stat().st_size, path.stat().st_mtime_ns]
    files = [(file, file.stat()) for images in _arrange(key, path).values() for file in images]
    return sorted([file.relative_to(path).as_posix(), now.st_size, now.st_mtime_ns] for file, now in files)


def _visible(folder: Path) -> list[Path]:
    shown = (path for path in folder.iterdir() if path.name[0] != "." and path.name != "__MACOSX")
    return sorted(shown, key=lambda path: (_composed(path.name), path.name))


def _composed(name: str) -> str:
    """A name in the one Unicode form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def _arrange(key: str, root: Path) -> dict[str, list[Path]]:
    """The images of each part, in the order of class and file name.

    Raises:
        WrongInput: a part is missing, no images, an empty class, classes that differ between train and test, images
            elsewhere in train/ or test/, a folder that cannot be read.
    """
    try:
        tops = [top for top in (root, *_visible(root)) if any((top / part).is_dir() for part in PARTS)]
        if len(tops) > 1 and root not in tops:
            raise WrongInput(f"{key}: train/ and test/ lie in several folders: {_some({top.name for top in tops})}")
        found = {part: _classes(key, root, (tops or [root])[0] / part) for part in PARTS}
    except OSError as error:
        raise WrongInput(f"{key}: cannot be read: {in_words(error)}") from error
    train, test = (set(found[part]) for part in PARTS)
    if train != test:
        alone = {f"only in {part}/": some for part, some in (("train", train - test), ("test", test - train)) if some}
        told = "; ".join(f"{where}: {_some(names)}" for where, names in alone.items())
        raise WrongInput(f"{key}: train/ and test/ must have the same classes; {told}")
    empty = {f"{part}/{name}" for part in PARTS for name, files in found[part].items() if not files}
    if empty:
        raise WrongInput(f"{key}: no images in {_some(empty)}; {NEEDED}")
    return {part: [file for files in found[part].values() for file in files] for part in PARTS}


def _classes(key: str, root: Path, part: Path) -> dict[str, list[Path]]:
    """Class -> its images, of train/ or test/."""
    if not part.is_dir():
        raise WrongInput(f"{key}: has no {part.name}/; {NEEDED}")
    found: dict[str, list[Path]] = {}
    for path in _visible(part):
        inside = _visible(path) if path.is_dir() else [path]
        images = [file for file in inside if file.name.lower().endswith(ENDINGS)]
        where = {file: f"{key}: {file.relative_to(root).as_posix()}" for file in inside}
        if misplaced := [file for file in inside if file.is_dir()] if path.is_dir() else images:
            raise WrongInput(f"{where[misplaced[0]]}: images must lie directly in {part.name}/<class>/")
        if broken := [file for file in images if not file.is_file()]:
            raise WrongInput(f"{where[broken[0]]}: not a plain file, or a link to none")
        name = _composed(path.name)
        if path.is_dir() and name in found:
            raise WrongInput(f"{key}: {part.name}/{name}: two folders of this name, in two Unicode forms; join them")
        if path.is_dir():
            found[name] = images
    if not any(found.values()):
        raise WrongInput(f"{key}: no images in {part.name}/; {NEEDED}")
    return found


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# Decoding


def _decode(
    key: str, label: str, images: dict[str, list[Path]], image_size: int | None, channels: int | None
) -> Arrays:
    files = images["test"] + images["train"]
    names = ["/".join(file.parts[-3:]) for file in files]
    pixels = np.empty(0, np.uint8)
    for index, file in enumerate(tqdm(files, desc=f"decoding {label}", unit="image", disable=None)):
        decoded = _decode_image(f"{key}: {names[index]}", file, image_size, channels)
        if not index:
            pixels = np.empty((len(files), *decoded.shape), np.uint8)
        if decoded.shape != pixels.shape[1:]:
            raise WrongInput(f"{key}: {_unequal(names[index], decoded.shape, names[0], pixels.shape[1:])}")
        pixels[index] = decoded
    own = [_composed(file.parent.name) for file in files]
    classes = tuple(sorted(set(own)))
    labels = torch.tensor([classes.index(name) for name in own])
    split = len(images["test"])
    inputs = torch.from_numpy(pixels)
    contents = (inputs[split:], labels[split:], inputs[:split], labels[:split])
    return Arrays(*contents, classes, content_hash(*contents, classes))


def _decode_image(where: str, file: Path, image_size: int | None, channels: int | None) -> np.ndarray:
    """uint8 (channels, height, width)."""
    try:
        with Image.open(file) as image:
            deep = _is_deep(image)
            image.load()
            if deep or image.mode[0] in "IF":
                bits = f"mode {image.mode}" if image.mode[0] in "IF" else "more than 8 bits per channel"
                raise WrongInput(f"{where}: has {bits}; only images of 8 bits per channel can be used")
            if channels is None and image.mode not in ("L", "RGB"):
                raise WrongInput(
                    f"{where}: has mode {image.mode}, not grey (L) or RGB; data.channels=1 or 3 converts it"
                )
            mode = image.mode if channels is None else {1: "L", 3: "RGB"}[channels]
            upright: Image.Image = ImageOps.exif_transpose(image)
            converted = upright if upright.mode == mode else upright.convert(mode)
            if image_size is not None and converted.size != (image_size, image_size):
                converted = converted.resize((image_size, image_size), Image.Resampling.BILINEAR)
            values = np.asarray(converted)
    except WrongInput:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        reason = "" if isinstance(error, UnidentifiedImageError) else f": {in_words(error)}"
        raise WrongInput(f"{where}: not a readable image{reason}") from error
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file has more than 8 bits per channel, which Pillow reads as 8 where there are several channels.

    Its tiles tell before the image is loaded: in the packed form that is to be unpacked, ``RGB;16B``, or in the
    largest value of a PPM.
    """
    for tile in image.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if re.search(r";(12|16[BLN]|24|32)", str(arguments[0])):
            return True
        if tile.codec_name.startswith("ppm") and arguments[1] > 255:
            return True
    return False


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
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batchnorm-suite"
    except RuntimeError as error:
        raise WrongInput(
            "data.cache: must be given (a folder for decoded images): there is no home directory"
        ) from error


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
