"""What a person types: one line for a mistake, the right exit code, and nothing stored lost."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from analysis.__main__ import main as analysis_main
from tests.conftest import partly
from tests.runs import MLP

ROOT = Path(__file__).parent.parent
QUICK = [*MLP, "steps=2"]


def suite(*arguments: str, cwd: Path, module: str = "experiments") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def in_process(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The same without a new process: exit code and standard error."""
    from experiments.cli import main

    monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
    code = main()
    return code, capsys.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = {
    "norm=batchh": "norm=batchh: unknown norm; did you mean 'batch'?",
    "model=vgg12": "model=vgg12: unknown model; did you mean 'vgg1",
    "data=digit": "data=digit: unknown data; did you mean 'digits'?",
    "optim=sgdd": "optim=sgdd: unknown optim; did you mean 'sgd'?",
    "numerics=exakt": "numerics=exakt: unknown numerics; did you mean 'exact'?",
    "experiment=santurkar2018/vg": "experiment=santurkar2018/vg: unknown experiment; did you mean 'santurkar2018/vgg'?",
    "experiment=linear": "experiment=linear: unknown experiment; did you mean 'daneshmand2020/linear' or 'santu",
    "experiment=yang2019/linea": "experiment=yang2019/linea: unknown experiment; did you mean 'yang2019/linear'?",
    "experiment=figure4": "experiment=figure4: unknown experiment; allowed: arora2019/balance, arora2019/decay, ",
    "scale=desktop": "scale=desktop: unknown scale; allowed: demo, full, laptop",
    "norm.name=batchh": "norm=batchh: unknown norm; did you mean 'batch'?",
    "optim.lrr=1": "optim.lrr=1: unknown key; did you mean 'lr'?",
    "stepps=10": "stepps=10: unknown key; did you mean 'steps'?",
    "norm.epz=1": "norm.epz=1: unknown key; did you mean 'eps'?",
    "+norm.epz=1": "norm.epz=1: unknown option; did you mean 'eps'? allowed: affine",
    "steps=many": "steps=many: must be a whole number",
    "steps=1.5": "steps=1.5: must be a whole number",
    "seed=null": "seed=null: must be given",
    "steps": "steps: cannot be read; write key=value",
    "seed=99999999999999999999": "seed=99999999999999999999: must be a whole number, at most",
    "threads=100000": "threads=100000: must be a whole number, at most 1024",
    "norm=null": "norm=null: must be one of batch, batch_renorm",
    "norm=[batch,l1]": "norm=[batch,l1]: must be one of batch, batch_renorm",
    "norm=batch,l1": "norm=batch,l1: several values are a sweep; add --multirun",
    "norm.name=3": "norm={",
    "norm.file=3": "norm.file=3: must be the path of a Python file, or null",
    "probes=[ics,foo]": "probes=foo: unknown probes; allowed: activations",
    "probes.at=5": "probes.at=5: must be a list of steps",
    "model.activation=rely": "model.activation=rely: did you mean 'relu'? allowed: none, relu, sigmoid, tanh",
    "model.widths=16": "model.widths=16: must be a list of whole numbers",
    "steps=-5": "steps=-5: must be a whole number, at least 0",
    "seed=-1": "seed=-1: must be a whole number, at least 0",
    "threads=0": "threads=0: must be a whole number, at least 1",
    "optim.lr=0": "optim.lr=0: must be a number above 0",
    "optim.lr=-0.1": "optim.lr=-0.1: must be a number above 0",
    "optim.lr=fast": "optim.lr=fast: must be a number",
    "optim.lr=nan": "optim.lr=nan: must be a number",
    "optim.lr=true": "optim.lr=True: must be a number",
    "optim.batch_size=0": "optim.batch_size=0: must be a whole number, at least 1",
    "optim.batch_size=2.5": "optim.batch_size=2.5: must be a whole number",
    "optim.batch_size=1000": "optim.batch_size=1000: ",
    "optim.batch_size=1": "one value per unit",
    "optim.loss=median": "optim.loss=median: did you mean 'mean'? allowed: mean, sum",
    "optim.schedule=cosin": "optim.schedule=cosin: did you mean 'cosine'?",
    "optim.schedule=step": "optim.milestones=[]: ",
    "optim.milestones=[3,2]": "optim.milestones=[3, 2]: must increase",
    "optim.momentum=1.5": "optim: momentum=1.5: must be at least 0 and below 1",
    "optim.momentum=high": "optim.momentum=high: must be a number, not str",
    "checkpoint.keep=[99]": "checkpoint.keep=99: must be between 1 and steps=2",
    "resume=perhaps": "resume=perhaps: allowed: anyway, exact",
    "device=cuda:7": "device=cuda:7: not on this machine; allowed: auto, cpu",
    "device=gpu": "device=gpu: not on this machine; allowed: auto, cpu",
    "run_name=../elsewhere": "run_name=../elsewhere: must be a plain folder name",
    "norm=instance": "instance",
    "norm=group norm.groups=3": "group",
    "model=vgg11": "32",
    "norm.file=absent.py": "norm.file=",
    "data=mnist": "data.download=true",
    "data=image_folder": "data.root",
    "data=image_folder data.root=absent.tar.gz": "absent.tar.gz",
    "runs_dir=/proc/nowhere": "/proc/nowhere",
}


@pytest.mark.parametrize("typed", partly(WRONG, 12))
def test_wrong_input_is_one_line_that_names_it_and_exit_code_2(
    typed: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drop = tuple(f"{o.split('=')[0]}=" for o in typed.split()) + (("model.widths=",) if "model=" in typed else ())
    drop += ("data.subset", "data.test_subset") if "data=" in typed else ()
    kept = [o for o in QUICK if not o.startswith(drop)]
    code, error = in_process(*kept, *typed.split(), monkeypatch=monkeypatch, capsys=capsys)
    lines = error.strip().splitlines()
    assert code == 2, error
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert WRONG[typed] in lines[0]
    assert list(here.rglob("checkpoint.pt")) == []


def test_wrong_input_in_a_real_process_and_unknown_flags(tmp_path: Path) -> None:
    wrong = suite("norm=batchh", cwd=tmp_path)
    flag = suite("--nonsense", cwd=tmp_path)
    assert (wrong.returncode, flag.returncode) == (2, 2)
    assert "Traceback" not in wrong.stderr + flag.stderr


def test_help_config_and_completion_do_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['experiments'] + sys.argv[1:]\n"
        "try:\n    runpy.run_module('experiments', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments in (["--help"], ["--cfg", "job"], ["-sc", "query=bash"]):
        completing = {"COMP_LINE": "experiments norm=", "COMP_POINT": "17"} if arguments[0] == "-sc" else {}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**environment, **completing},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        if arguments == ["--help"]:
            begins_with_its_purpose_and_examples(done.stdout, "Trains networks", "python -m experiments ")


def begins_with_its_purpose_and_examples(text: str, purpose: str, command: str) -> None:
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("usage:")]
    assert paragraphs[0].startswith(purpose)
    assert [line.strip().startswith(command) for line in paragraphs[1].splitlines()] == [True] * 3


def test_help_of_the_analysis_begins_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        analysis_main(["--help"])
    begins_with_its_purpose_and_examples(capsys.readouterr().out, "Says what runs mean", "python -m analysis ")


@pytest.mark.long
def test_one_run_from_another_directory_prints_its_folder(tmp_path: Path) -> None:
    done = suite(*QUICK, "runs_dir=mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert folder.parent == tmp_path / "mine"
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert {f.name for f in tmp_path.iterdir()} == {"mine"}


@pytest.mark.long
def test_a_sweep_goes_on_after_a_wrong_job_and_a_diverged_one(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = in_process(
        *[o for o in QUICK if "batch_size" not in o],
        *["--multirun", "norm=none,l1", "optim.batch_size=16,9999", "optim.lr=0.1,1e30", "launcher.workers=1"],
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    assert code == 2
    states = sorted(json.loads(f.read_text())["state"] for f in (here / "runs").glob("*/status.json"))
    assert states == ["diverged", "diverged", "finished", "finished"]
    assert error.count(": optim.batch_size=9999") == 4
    assert "Traceback" not in error


def test_two_processes_in_one_run_folder_are_refused(tmp_path: Path) -> None:
    from experiments.errors import RunFailure
    from experiments.runs.folder import RunFolder

    with RunFolder(tmp_path / "run"), pytest.raises(RunFailure, match="is writing to this run folder"):
        RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "run").__exit__()


def test_another_configuration_in_one_folder_is_refused_with_the_differing_keys(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(*QUICK, "run_name=mine", monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    before = {f: f.read_bytes() for f in (here / "runs" / "mine").iterdir()}
    code, error = in_process(*QUICK, "run_name=mine", "optim.lr=0.2", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert "optim.lr (0.1 there, 0.2 here)" in error
    assert {f: f.read_bytes() for f in (here / "runs" / "mine").iterdir()} == before


MISBEHAVING = {
    "raises": (
        "class Own:\n    def __init__(self, layer):\n        raise KeyError('mine')\n",
        "raised KeyError: 'mine'",
    ),
    "arguments": ("def Own():\n    return None\n", "norm"),
    "exits": ("import sys\nsys.exit(0)\n", "does not import: SystemExit"),
    "syntax": ("class Own(\n", "does not import: SyntaxError"),
    "nothing": ("x = 1\n", "norm.name=Own: not in"),
    "returns": ("def Own(layer):\n    return 7\n", "norm"),
}


@pytest.mark.parametrize("case", list(MISBEHAVING))
def test_a_users_file_that_misbehaves_is_wrong_input(
    case: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, message = MISBEHAVING[case]
    (here / "own.py").write_text(source)
    chosen = ["norm=none", "norm.name=Own", "norm.file=own.py"]
    code, error = in_process(*QUICK, *chosen, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1, error
    assert message in error
    assert not (here / "runs").exists()


def test_a_refused_start_touches_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(*QUICK, "run_name=mine", monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    before = {f.name: f.read_bytes() for f in (here / "runs" / "mine").iterdir()}
    more = [o for o in QUICK if not o.startswith("steps")]
    for refused in (["steps=4", "threads=2"], ["steps=2", "checkpoint.keep=[1]"]):
        assert in_process(*more, "run_name=mine", *refused, monkeypatch=monkeypatch, capsys=capsys)[0] == 2
        assert {f.name: f.read_bytes() for f in (here / "runs" / "mine").iterdir()} == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of QUICK, by the name of "mine"."""
    folder = tmp_path_factory.mktemp("trained")
    return experiments.run(experiments.compose([*QUICK, "run_name=mine", f"runs_dir={folder}"])).path


DESCRIPTIONS = itertools.product(("config.json", "status.json", "provenance.json"), ("null", "[]", "{}", "{"))


@pytest.mark.parametrize(("file", "content"), partly(DESCRIPTIONS, 4))
def test_a_damaged_description_is_named(
    file: str,
    content: str,
    trained: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained, here / "runs" / "mine")
    (here / "runs" / "mine" / file).write_text(content)
    more = [o for o in QUICK if not o.startswith("steps")]
    code, error = in_process(*more, "steps=4", "run_name=mine", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 1, error
    assert f"{file}: damaged" in error
    assert "Traceback" not in error


@pytest.mark.long
def test_flags_in_any_place(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine" / "norm").mkdir(parents=True)
    (here / "mine" / "norm" / "gentle.yaml").write_text("name: batch\nfile: null\nmomentum: 0.01\n")
    chosen = ["norm=gentle,none", "--config-dir", "mine", "seed=0", "-m", "launcher.workers=1"]
    assert in_process(*QUICK, *chosen, monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    assert len(list((here / "runs").glob("*/status.json"))) == 2


def test_an_unexpected_failure_leaves_its_traceback_and_exits_with_1(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.py").write_text(
        "from torch import nn\n\n\nclass Breaks(nn.Module):\n"
        "    def __init__(self, layer):\n        super().__init__()\n"
        "    def forward(self, y):\n"
        "        if self.training:\n            raise ArithmeticError('seven is not eight')\n        return y\n"
    )
    chosen = ["norm=none", "norm.name=Breaks", "norm.file=mine.py"]
    code, error = in_process(*QUICK, *chosen, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 1
    assert "seven is not eight" in error
    assert "Traceback" not in error
    (folder,) = (here / "runs").glob("digits*")
    assert "seven is not eight" in (folder / "traceback.txt").read_text()
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"  # writes past the limit then fail as on a full disk
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))\n"
        "from experiments.cli import main\nsys.exit(main())\n"
    )
    arguments = [*(o for o in QUICK if not o.startswith("model.widths")), "model.widths=[64,64]"]
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "checkpoint" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert in_process(*arguments, monkeypatch=monkeypatch, capsys=capsys)[0] == 0
