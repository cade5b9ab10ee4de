"""The README and the pages of docs/, block by block."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_IN_A_LINE = re.compile(r"(?<!`)`(python -m [^`]*)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (empty: commands) and its text."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Commands, each on one line, without what is said of them."""
        whole = self.text.replace("\\\n", " ").splitlines()
        return [command for line in whole if (command := " ".join(line.split("#")[0].split()))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(found[1], found[2]) for found in _BLOCK.finditer(page.read_text())]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", page.read_text())


def commands(page: Path) -> list[str]:
    """All that a page gives to type, in order: lines of blocks, then what stands within sentences."""
    shown = [line for block in blocks(page) if not block.language for line in block.lines]
    return [*shown, *(" ".join(found.split()) for found in _IN_A_LINE.findall(prose(page)))]


def block(containing: str) -> str:
    """The text of the one block of all pages that has this in it."""
    (found,) = [block.text for page in PAGES for block in blocks(page) if containing in block.text]
    return found


def row(starting: str) -> str:
    """The one row of all pages' tables that starts so."""
    (found,) = [line for page in PAGES for line in page.read_text().splitlines() if line.startswith(starting)]
    return found


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, cell by cell."""
    rows = re.compile(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
    (found,) = [text for page in PAGES for text in rows.findall(page.read_text())]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found.splitlines()]
