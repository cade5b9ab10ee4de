"""conf -> experiments -> probes; a run folder on disk -> analysis. No arrow back."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"experiments", "probes", "analysis", "notebooks", "conf"}
ALLOWED_ROOMS = {"experiments": {"experiments", "probes"}, "probes": {"probes"}, "analysis": {"analysis"}}
ALLOWED_PACKAGES = {
    "probes": {"torch"},
    "analysis": {"numpy", "pandas", "scipy", "matplotlib", "pyarrow", "xarray", "jinja2", "markupsafe", "rich"},
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("room", list(ALLOWED_ROOMS))
def test_no_room_imports_against_the_arrows(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        named = imports(file)
        assert named & ROOMS <= ALLOWED_ROOMS[room], file
        if room in ALLOWED_PACKAGES:
            foreign = named - set(sys.stdlib_module_names) - ROOMS - {"__future__"}
            assert foreign <= ALLOWED_PACKAGES[room], f"{file}: {foreign - ALLOWED_PACKAGES[room]}"


@pytest.mark.parametrize(("room", "never"), [("experiments", "torch"), ("probes", "torch"), ("analysis", "torch")])
def test_importing_a_room_is_quick(room: str, never: str) -> None:
    code = f"import {room}, sys; sys.exit({never!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
