"""What the README and its pages show does what they say of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis import figures, ledger, load_runs, studies
from analysis.__main__ import main as analysis_main
from analysis.runs import Runs
from tests.pages import PAGES, block, commands
from tests.readme import mine, small_networks, typed
from tests.runs import MLP

__all__ = ["mine", "typed"]
COMMANDS = sorted({line for page in PAGES for line in commands(page) if line.startswith("python -m experiments ")})


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


@pytest.mark.long
def test_probing_any_model_as_the_readme_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_networks(monkeypatch)
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
def test_an_explanation_of_ones_own_is_judged_and_drawn(mine: Path, typed: Callable[..., str]) -> None:
    (shown,) = [shlex.split(command)[3:] for command in COMMANDS if "norm.momentum=0.1,0.01" in command]
    typed(*shown, *MLP, "launcher.workers=1", "steps=20", cwd=mine)
    (study,) = (study for study in studies.load([mine / "mine" / "steady2026"]) if study.of_user)
    (verdict,) = ledger.judge(Runs.load(mine / "runs" / "mine"), study.claims)
    # the running averages have no part in training: the very same losses
    assert (verdict.word, verdict.seeds, verdict.parts[0].outcome.each) == ("supported", 3, (1.0, 1.0, 1.0))
    (report,) = {command for page in PAGES for command in commands(page) if "report runs/mine --study" in command}
    typed(*shlex.split(report)[3:], cwd=mine, module="analysis")
    (page,) = mine.glob("runs/mine/report/*.html")
    assert all(
        words in page.read_text() for words in (study.title, study.claims[0].statement, "how slowly the running")
    )
    data = study.figure("loss_by_momentum").compute(Runs.load(mine / "runs" / "mine"))
    assert [curve.norm for curve in data.columns[0].panels[0].curves] == ["slow", "batch"]


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
