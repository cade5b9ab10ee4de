"""What tests of the report and of the card share: runs in every state, a reader of pages, pages with few figures."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.page import Pictures
from tests.made_runs import log, write_run
from tests.made_sweep import write_sweep

DRAWN = ("training_curves", "fig04_landscape")


def write_runs(folder: Path) -> Path:
    """A sweep with provenance, one run that failed and one that diverged."""
    write_sweep(folder, norms=("none", "batch", "l1"), lrs=(0.1,))
    start: dict[str, Any] = {
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None,
        "from_step": 0,
        "host": "h",
        "pid": 1,
    }
    start |= {"command": "python -m experiments <b>bold</b>", "git_commit": "0123456789abcdef", "git_dirty": True}
    start |= {"versions": {"torch": "2.13.0"}, "device": "cpu", "device_name": "A chip", "threads": 1, "plan": None}
    for run in folder.iterdir():
        (run / "provenance.json").write_text(json.dumps({"starts": [start]}))
    write_run(folder, "group", state="failed", message="out of\nmemory")
    write_run(folder, "none", 7, state="diverged", diverged_at=3, lines=log(1), config={"steps": 120})
    return folder


def draw_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the suite's own figures only two are drawn."""
    drawn = Pictures.drawn

    def few(self: Pictures, name: str, module: Any, *, own: bool = False) -> dict[str, Any]:
        if own or name in DRAWN:
            return drawn(self, name, module, own=own)
        return {"name": name, "title": name, "empty": "not in this test", "beside": []}

    monkeypatch.setattr(Pictures, "drawn", few)


class Reader(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"])
        self.loaded += [given[name] for name in ("src", "srcset", "data", "poster", "action") if name in given]
        self.loaded += [given["href"]] if tag in ("link", "image", "use") else []
        if tag not in ("meta", "link", "img", "br", "line", "rect", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
