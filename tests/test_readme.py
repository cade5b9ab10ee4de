"""What the README shows works as it stands there."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis import figures, ledger, load_runs, studies
from analysis.__main__ import main as analysis_main
from analysis.runs import Runs
from experiments.data.torchvision_import import import_torchvision
from experiments.evaluations import PARTS
from tests.runs import MLP

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
        "model/wide.yaml": "name: Wide\nfile: ../wide.py\nwidth: 64\n",
        "stripes.py": block("def stripes"),
        "data/stripes.yaml": "name: stripes\nfile: ../stripes.py\n",
        "vectors.py": block("def vectors"),
        "data/vectors.yaml": "name: vectors\nfile: ../vectors.py\n",
        "signs.py": block("class Signs"),
        "optim/signs.yaml": "name: Signs\nfile: ../signs.py\nlr: 0.01\n",
        "experiment/statistics.yaml": block("slow statistics:"),
        "steady2026/__init__.py": block("STUDY = Study("),
        "steady2026/claims.py": block("CLAIMS = ("),
    }
    for name, text in files.items():
        target = tmp_path / "mine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return tmp_path


MAIN = {
    "experiments": "experiments.cli",
    "experiments.runs.prune": "experiments.runs.prune",
    "analysis": "analysis.__main__",
}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that ends well prints; without a process of its own, which would import torch each time."""

    def typed(*arguments: str, cwd: Path, module: str = "experiments") -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        code = importlib.import_module(MAIN[module]).main()
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return typed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str, mine: Path, typed: Callable[..., str]) -> None:
    arguments = [a for a in shlex.split(command)[3:] if a != "-m"]
    arguments = [a.split(",")[0] if "," in a and not set("[{") & set(a) else a for a in arguments]
    assert "optim:" in typed("--cfg", "job", *arguments, cwd=mine)


def test_a_users_own_normalisation_model_data_and_optimiser_run(mine: Path, typed: Callable[..., str]) -> None:
    (shown,) = [shlex.split(c)[3:] for c in COMMANDS if "norm=median model=wide" in c]
    chosen = [*shown, "steps=30", "evaluation.every=10"]
    folder = Path(typed(*chosen, cwd=mine).strip().splitlines()[-1])
    assert folder.name.startswith("stripes-wide-median-signs-lr0.01-seed0-")
    final = json.loads((folder / "status.json").read_text())["final"]
    assert final["test_accuracy"] > 0.9
    # An edited file is another run.
    (mine / "mine" / "median.py").write_text(block("class Median") + "\n# edited\n")
    assert Path(typed(*chosen, cwd=mine).strip().splitlines()[-1]) != folder


def test_the_readme_names_every_choice() -> None:
    conf = Path(__file__).parent.parent / "conf"
    for group in ("model", "norm", "data", "optim", "probes", "numerics", "launcher", "mirror"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{group}=`"))
        for file in (conf / group).glob("*.yaml"):
            if not file.stem.startswith("vgg_") or file.stem == "vgg_small":
                assert file.stem in row, f"{group}={file.stem} is not in the README's table"
    for part, registry in PARTS.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| `{part}` | `"))
        assert all(f"`{name}`" in row for name in registry.names()), row


def test_a_researchers_script_runs_as_the_readme_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are those of a run folder, walks along the raw gradient are called so, and its autocast is told."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block("torch.autocast"), "README", "exec"), {})
    printed = capsys.readouterr().out
    assert "along the raw gradient" in printed
    assert "evaluated in float32, autocast off" in printed
    loaded = load_runs(tmp_path / "runs" / "mine")
    assert set(loaded.step) == {0, 10, 20, 30}
    assert set(loaded.norm) == {"batch"}
    rates = loaded[(loaded.metric == "landscape_loss") & (loaded.step == 0)]
    assert len(rates) == 7


def test_probing_any_model_as_the_readme_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = import_torchvision().models
    vgg = models.vgg11_bn

    def slim(**options: Any) -> torch.nn.Module:
        """The VGG with 32 units, not 4096, in its fully connected layers, which hold 93 % of its parameters."""
        network = vgg(init_weights=False, **options)
        for place, sizes in ((0, (512 * 7 * 7, 32)), (3, (32, 32)), (6, (32, options["num_classes"]))):
            assert isinstance(network.classifier[place], torch.nn.Linear)
            network.classifier[place] = torch.nn.Linear(*sizes)
        return network

    monkeypatch.setattr(models, "vgg11_bn", slim)
    exec(compile(block("models.vgg11_bn"), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("('landscape', 0,") == printed.count("('ics', 2,") == 2
    assert printed.count("in order") == 2  # the ResNet's blocks are links of a chain


def test_statistics_from_elsewhere_as_the_readme_shows() -> None:
    found: dict[str, Any] = {}
    exec(compile(block("import fold"), "README.md", "exec"), found)
    torch.testing.assert_close(found["precise"](found["images"]), found["outputs"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["by_batch"], found["outputs"], rtol=1e-2, atol=1e-2)  # n and n - 1
    assert not found["network"][1].num_batches_tracked


def test_a_users_own_probe_runs(mine: Path, typed: Callable[..., str]) -> None:
    (mine / "mine" / "sharp.py").write_text(block("class LossDrop"))
    (mine / "mine" / "probes").mkdir()
    (mine / "mine" / "probes" / "sharp.yaml").write_text("use: {sharp: {name: LossDrop, file: ../sharp.py}}\n")
    chosen = [
        "--config-dir",
        "mine",
        "probes=[gradients,sharp]",
        "probes.every=2",
        *MLP,
        "steps=5",
        "probes.fixed_batch=9",
    ]
    folder = Path(typed(*chosen, cwd=mine).strip().splitlines()[-1])
    log = (folder / "records.jsonl").read_text().splitlines()
    records = {(r["probe"], r["step"]): r["values"] for r in map(json.loads, log)}
    for step in (0, 2, 4):
        slope = records["gradients", step]["lipschitz"] * records["gradients", step]["update_norm"]
        assert abs(records["sharp", step]["loss_drop"]) == pytest.approx(slope, rel=1e-4)


@pytest.mark.long
def test_the_sweep_that_the_readme_shows(
    tmp_path: Path, typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process and with one figure; all of them, in a process of its own, are tests/test_sweeps.py's.
    monkeypatch.setattr("experiments.sweeps.sweep.report", lambda runs: analysis_main(["report", str(runs)]))
    monkeypatch.setattr(figures, "names", lambda: ["training_curves"])
    lines = [line.split("#")[0].split() for line in block("status runs/mine --watch").splitlines()]
    said = []
    for _, _, module, *arguments in lines:
        small = [*MLP, "steps=5", "launcher.workers=1"] if module == "experiments" else []
        said.append(typed(*[a for a in arguments if a != "--watch"], *small, cwd=tmp_path, module=module))
    listed, first, grown, status, prune = said
    assert "9 runs: 9 missing" in listed
    assert "9 runs: 9 finished" in first
    assert "9 of 12 runs are done already" in grown
    assert "12 runs: 12 finished" in status
    assert prune == "nothing to prune\n"
    assert list(tmp_path.glob("runs/mine/report/*.html"))


def test_the_arms_that_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    own = ["--config-dir", "mine", "experiment=statistics", "dry=true", *MLP]
    for arms, number in (([], 9), (["arm=plain"], 3), (["-m", "arm=plain,adam"], 6)):
        assert f"{number} runs: {number} missing" in typed(*own, *arms, cwd=mine)


@pytest.mark.long
def test_an_explanation_of_ones_own_is_judged(mine: Path, typed: Callable[..., str]) -> None:
    few = [*MLP, "launcher.workers=1"]
    own = ["--config-dir", "mine", "experiment=statistics", "-m", "arm=slow statistics,plain", "seed=0,1,2", *few]
    typed(*own, "steps=20", "runs_dir=runs", cwd=mine)
    typed("-m", "norm=batch", "seed=0,1,2", *few, "steps=20", "runs_dir=runs", cwd=mine)
    (study,) = (study for study in studies.load([mine / "mine" / "steady2026"]) if study.of_user)
    (verdict,) = ledger.judge(Runs.load(mine / "runs"), study.claims)
    # the running averages have no part in training: the very same losses
    assert (verdict.word, verdict.seeds, verdict.parts[0].outcome.each) == ("supported", 3, (1.0, 1.0, 1.0))


def test_probing_again_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    commands = [c for c in COMMANDS if "run_name=kept" in c or "probe_again" in c]
    for command in sorted(commands, key=lambda c: "probe_again" in c):
        small = [] if "probe_again" in command else ["model=mlp", "model.widths=[16,16]", "steps=201"]
        said = typed(*shlex.split(command)[3:], *small, cwd=mine)
    folder = Path(said.strip().splitlines()[-1])
    steps = [json.loads(line)["step"] for line in (folder / "records.jsonl").read_text().splitlines()]
    assert steps == [50, 200]


def test_a_noisy_network_is_evaluated_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    (command,) = [c for c in COMMANDS if "kinds.attacked" in c]
    folder = Path(typed(*shlex.split(command)[3:], *MLP, "steps=20", cwd=mine).strip().splitlines()[-1])
    final = json.loads((folder / "status.json").read_text())["final"]
    assert final["test_data_loss_attacked"] > final["test_data_loss_population"]
    assert final["test_data_loss_population"] != final["test_data_loss"]


def test_another_runs_norms_are_mimicked_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    commands = [c for c in COMMANDS if "with_decay" in c]
    assert len(commands) == 2
    for command in sorted(commands, key=lambda c: "norm_mimicry" in c):
        said = typed(*shlex.split(command)[3:], *MLP, "steps=5", "probes.fixed_batch=9", cwd=mine)
    described = json.loads((Path(said.strip().splitlines()[-1]) / "config.json").read_text())
    assert described["run"] == "mimicry"
    assert len(described["training"]["optim"]["norms_file_sha256"]) == 64


def test_the_hessian_of_other_statistics_is_taken_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    small = [*MLP, "steps=5", "probes.fixed_batch=9", "probes.use.spectrum.largest=1", "probes.use.spectrum.products=5"]
    commands = sorted((c for c in COMMANDS if "probes.use.spectrum.statistics" in c), key=len)
    assert len(commands) == 2
    typed(*MLP, "steps=2", "run_name=other", cwd=mine)
    batches = []
    for command in commands:
        folder = Path(typed(*shlex.split(command)[3:], *small, cwd=mine).strip().splitlines()[-1])
        fields = json.loads((folder / "fields.json").read_text())
        batches.append(fields["spectrum"]["largest_eigenvalues"]["batch"])
    assert batches == ["train, running statistics", "train, given statistics"]


def test_vectors_with_further_test_sets_run_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    chosen = [
        "--config-dir",
        "mine",
        "data=vectors",
        "model=mlp",
        "model.widths=[16]",
        "steps=40",
        "optim.batch_size=50",
    ]
    folder = Path(typed(*chosen, cwd=mine).strip().splitlines()[-1])
    final = json.loads((folder / "status.json").read_text())["final"]
    assert final["test_accuracy"] > 0.75 > final["test_accuracy_shifted"] > final["test_accuracy_turned"]
    assert (
        json.loads((folder / "fields.json").read_text())["training"]["test_accuracy_shifted"]["batch"] == "test_shifted"
    )


def test_evaluations_of_parts_of_the_test_set_run_as_the_readme_shows(mine: Path, typed: Callable[..., str]) -> None:
    small = ["model=mlp", "model.widths=[16,16]", "data.subset=64", "data.test_subset=40", "steps=20"]
    found = {}
    for command in (c for c in COMMANDS if "kinds.own" in c or "kinds.judged" in c):
        own = [] if "optim.batch_size" in command else ["optim.batch_size=16"]
        folder = Path(typed(*shlex.split(command)[3:], *small, *own, cwd=mine).strip().splitlines()[-1])
        found |= json.loads((folder / "status.json").read_text())["final"]
    assert {"test_accuracy_own", "test_accuracy_digits_own", "test_accuracy_apart", "test_accuracy_judged"} <= set(
        found
    )
    assert found["test_data_loss_chosen"] != found["test_data_loss_judged"]
