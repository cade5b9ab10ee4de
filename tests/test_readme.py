"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.runs import MLP
from tests.test_command_line import suite

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        " ".join(line.split("#")[0].split())
        for language, block in BLOCKS
        if not language
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("python -m experiments ") and "--help" not in line
    }
)


def block(containing: str) -> str:
    (found,) = [text for _, text in BLOCKS if containing in text]
    return found


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The README's own files, where it says they belong."""
    files = {
        "median.py": block("class Median"),
        "norm/median.yaml": block("name: Median"),
        "wide.py": block("def Wide"),
        "model/wide.yaml": "name: Wide\nfile: mine/wide.py\nwidth: 64\n",
        "stripes.py": block("def stripes"),
        "data/stripes.yaml": "name: stripes\nfile: mine/stripes.py\n",
    }
    for name, text in files.items():
        target = tmp_path / "mine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str, mine: Path) -> None:
    arguments = [a for a in shlex.split(command)[3:] if a != "-m"]
    arguments = [a.split(",")[0] if "," in a and "[" not in a else a for a in arguments]
    done = suite("--cfg", "job", *arguments, cwd=mine)
    assert done.returncode == 0, done.stderr


def test_a_users_own_normalisation_model_and_data_run(mine: Path) -> None:
    done = suite(
        *["--config-dir", "mine", "norm=median", "model=wide", "data=stripes", "optim.batch_size=50"],
        *["steps=30", "evaluation.every=10"],
        cwd=mine,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    final = json.loads((folder / "status.json").read_text())["final"]
    assert final["test_accuracy"] > 0.9
    # An edited file is another run.
    (mine / "mine" / "median.py").write_text(block("class Median") + "\n# edited\n")
    again = suite(
        *["--config-dir", "mine", "norm=median", "model=wide", "data=stripes", "optim.batch_size=50"],
        *["steps=30", "evaluation.every=10"],
        cwd=mine,
    )
    assert Path(again.stdout.strip().splitlines()[-1]) != folder


def test_the_readme_names_every_choice() -> None:
    conf = Path(__file__).parent.parent / "conf"
    for group in ("model", "norm", "data", "optim", "probes", "numerics", "launcher", "mirror"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{group}=`"))
        for file in (conf / group).glob("*.yaml"):
            if not file.stem.startswith("vgg_") or file.stem == "vgg_small":
                assert file.stem in row, f"{group}={file.stem} is not in the README's table"


def test_probing_any_model_as_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("models.vgg11_bn"), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("('landscape', 0,") == printed.count("('ics', 2,") == 2
    assert "no order of leaves" in printed  # the ResNet


def test_a_users_own_probe_runs(mine: Path) -> None:
    (mine / "mine" / "sharp.py").write_text(block("class LossDrop"))
    (mine / "mine" / "probes").mkdir()
    (mine / "mine" / "probes" / "sharp.yaml").write_text("use: {sharp: {name: LossDrop, file: mine/sharp.py}}\n")
    chosen = [
        "--config-dir",
        "mine",
        "probes=[gradients,sharp]",
        "probes.every=2",
        *MLP,
        "steps=5",
        "probes.fixed_batch=9",
    ]
    done = suite(*chosen, cwd=mine)
    assert done.returncode == 0, done.stderr
    log = (Path(done.stdout.strip().splitlines()[-1]) / "records.jsonl").read_text().splitlines()
    records = {(r["probe"], r["step"]): r["values"] for r in map(json.loads, log)}
    for step in (0, 2, 4):
        slope = records["gradients", step]["lipschitz"] * records["gradients", step]["update_norm"]
        assert abs(records["sharp", step]["loss_drop"]) == pytest.approx(slope, rel=1e-4)


def test_the_sweep_that_the_readme_shows(tmp_path: Path) -> None:
    lines = [line.split("#")[0].split() for line in block("status runs/mine --watch").splitlines()]
    said = []
    for _, _, module, *arguments in lines:
        small = [*MLP, "steps=5"] if module == "experiments" else []
        done = suite(*[a for a in arguments if a != "--watch"], *small, cwd=tmp_path, module=module)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    listed, first, grown, status, prune = said
    assert "9 runs: 9 missing" in listed
    assert "9 runs: 9 finished" in first
    assert "9 of 12 runs are done already" in grown
    assert "12 runs: 12 finished" in status
    assert prune == "nothing to prune\n"
    assert list(tmp_path.glob("runs/mine/report/*.html"))


def test_probing_again_as_the_readme_shows(mine: Path) -> None:
    commands = [c for c in COMMANDS if "run_name=kept" in c or "probe_again" in c]
    for command in sorted(commands, key=lambda c: "probe_again" in c):
        done = suite(*shlex.split(command)[3:], cwd=mine)
        assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    steps = [json.loads(line)["step"] for line in (folder / "records.jsonl").read_text().splitlines()]
    assert steps == [50, 200]
