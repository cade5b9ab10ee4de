"""Images and archives as other systems write them: read as they are meant, or refused."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.data import Arrays, image_folder, load_data
from experiments.errors import WrongInput
from experiments.options import build


def images(root: Path, names: dict[str, str], save: Any = None) -> Path:
    for part in ("train", "test"):
        for number, name in enumerate((names.get(part, names["train"]), "dog")):
            file = root / part / name / "0.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((4, 6, 3), 50 * (number + 1), np.uint8)
            pixels[0, 0] = 250
            (save or (lambda image, file: image.save(file)))(Image.fromarray(pixels), file)
    return root


def arrays(root: Path, **options: Any) -> Arrays:
    options |= {"root": str(root), "cache": f"{root.parent}/cache"}
    made: Arrays = build("data", image_folder.image_folder, (0,), options)
    return made


def deep(kind: str, path: Path) -> None:
    """200 of 65535 in every channel, in a file of 16 bits per channel."""
    pixels = np.full((4, 6, 3), 200, ">u2")
    if kind == "ppm":
        path.write_bytes(b"P6\n6 4\n65535\n" + pixels.tobytes())
        return

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["png", "ppm"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_colours_of_16_bits_are_refused_as_greys_are(kind: str, channels: int | None, tmp_path: Path) -> None:
    root = images(tmp_path / "pets", {"train": "cat"})
    (root / "train" / "cat" / "0.png").unlink()
    deep(kind, root / "train" / "cat" / f"1.{kind}")
    with pytest.raises(
        WrongInput, match=rf"train/cat/1.{kind}: has more than 8 bits per channel; only images of 8 bits"
    ):
        arrays(root, channels=channels)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_images_are_turned_as_their_tag_says(orientation: int, tmp_path: Path) -> None:
    def tagged(image: Image.Image, file: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(file, exif=exif)

    turned = arrays(images(tmp_path / "turned", {"train": "cat"}, tagged)).inputs_train[0].numpy()
    stored = np.full((3, 4, 6), 50, np.uint8)
    stored[:, 0, 0] = 250
    # EXIF: 3 is upside down, 6 needs a quarter turn clockwise to stand, 8 one counter-clockwise
    assert np.array_equal(turned, np.rot90(stored, {3: 2, 6: -1, 8: 1}[orientation], axes=(1, 2)))


def test_class_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    one = arrays(images(tmp_path / "one", {"train": composed, "test": apart}))
    other = arrays(images(tmp_path / "other", {"train": apart, "test": composed}))
    assert one.fingerprint == other.fingerprint
    images(tmp_path / "one", {"train": apart, "test": apart})
    with pytest.raises(WrongInput, match="train/café: two folders of this name, in two Unicode forms; join them"):
        arrays(tmp_path / "one")


@pytest.mark.parametrize("with_folders", [False, True])
def test_an_archive_with_backslashes_is_read(with_folders: bool, tmp_path: Path) -> None:
    root = images(tmp_path / "pets", {"train": "cat"})
    archive = tmp_path / "made" / "pets.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        if with_folders:
            packed.writestr("pets\\train\\cat\\", b"")
        for file in sorted(root.rglob("*.png")):
            packed.write(file, "\\".join(("pets", *file.relative_to(root).parts)))
    assert arrays(archive).fingerprint == arrays(root).fingerprint


def test_nothing_is_written_outside_by_backslashes(tmp_path: Path) -> None:
    root = images(tmp_path / "pets", {"train": "cat"})
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(root.rglob("*.png")):
            packed.write(file, file.relative_to(root).as_posix())
        packed.write(root / "train" / "cat" / "0.png", "train\\cat\\0.png")  # there twice
    with pytest.raises(WrongInput, match="leads outside, or to another file of the archive"):
        arrays(archive)


def test_without_a_home_directory_the_cache_must_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = images(tmp_path / "pets", {"train": "cat"})

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(WrongInput, match=r"^data.cache: must be given"):
        load_data({"name": "image_folder", "root": str(root)}, 0, None)
