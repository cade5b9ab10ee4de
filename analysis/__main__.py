"""`python -m analysis`: report, report card, figures, comparison, the state of runs, and their numbers as one table.

Exit code 0: done; 1: it could not be done (a full disk, every run damaged), or it was done without what is damaged;
2: something that was asked for is wrong. A damaged run is left out of what is made, and named with its file in one line
on standard error, in a report on its page too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from analysis.errors import DamagedFile, WrongInput
from analysis.folders import Damaged

_FOR = """\
Says what runs mean: which published explanations of batch normalisation they support, and the figures behind it.

  python -m analysis report runs           # one page: every explanation, what came out, the figures
  python -m analysis status runs --watch   # how far each run is, live
  python -m analysis table runs all.csv    # every number of every run, one to a row
"""
_CLAIMS = "a Python file with claims of your own (CLAIMS); may be given again"
_STUDY = "the folder of a study of your own (STUDY, claims, figures); may be given again"
_BY = "make the arms by this key of the configuration instead of the normalisation, as norm.groups; may be given again"
_FIGURES = "a Python file that is a figure of your own; may be given again"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongInput(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit code; what was made is printed as absolute paths."""
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except WrongInput as error:
        return _say(error, 2)
    except DamagedFile as error:
        return _say(error, 1)
    except BrokenPipeError:  # the reader of what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        return _say(f"cannot use {error.filename}: {error.strerror}; give a place where files can be written", 2)
    except OSError as error:
        return _say(f"cannot write {error.filename or ''}: {error.strerror or error}", 1)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86400:
        raise ValueError
    return seconds


def _say(error: object, code: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _named(damaged: Damaged) -> int:
    """Names what was left out; the exit code of a command that did the rest."""
    for why in damaged.values():
        _say(why, 1)
    return 1 if damaged else 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description=_FOR, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    report = commands.add_parser("report", help="one page: every explanation, what came out, the figures behind it")
    report.set_defaults(command=_report)
    card = commands.add_parser("card", help="one page: one normalisation against none and batch, or two side by side")
    card.set_defaults(command=_card)
    card.add_argument("arms", metavar="NORM[,NORM]", help="as named in the runs; with --by, a value of these keys")
    for command in (report, card):
        command.add_argument("--out", type=Path, metavar="DIR", help="where to (default: report in the first RUNS)")
        command.add_argument("--claims", action="append", type=Path, default=[], metavar="FILE", help=_CLAIMS)
    report.add_argument(
        "--light", action="store_true", help="a page to send or to keep: pictures in few bytes, no links"
    )
    report.add_argument("--apart", action="store_true", help="each study by its own experiments' runs, if any")
    compare = commands.add_parser("compare", help="two sweeps, or two arms, number by number")
    compare.set_defaults(command=_compare)
    compare.add_argument("a", metavar="A", help="a folder of runs; or, before RUNS, an arm such as a normalisation")
    compare.add_argument("b", metavar="B", help="another one")
    compare.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="where the two arms were run")
    compare.add_argument("--metric", action="append", default=[], metavar="NAME", help="this metric only; repeatable")
    compare.add_argument("--csv", type=Path, metavar="FILE", help="also write the numbers to FILE.csv")
    for command in (card, compare):
        command.add_argument("--by", action="append", default=[], metavar="KEY", help=_BY)
    figures = commands.add_parser("figures", help="draw the figures (SVG, PNG, PDF, and their numbers as CSV)")
    figures.set_defaults(command=_figures)
    figures.add_argument("--out", type=Path, metavar="DIR", help="where to (default: figures in the first RUNS)")
    figures.add_argument("--only", action="append", metavar="NAME", help="this figure only; may be given again")
    status = commands.add_parser("status", help="how far each run is")
    status.set_defaults(command=_status)
    status.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="SECONDS",
        help="stay and look again every so many seconds (2) until all have ended",
    )
    table = commands.add_parser("table", help="all numbers of all runs as one table")
    table.set_defaults(command=_table)
    explanations = commands.add_parser("studies", help="write the page of all explanations, from results that are kept")
    explanations.set_defaults(command=_studies)
    explanations.add_argument("--results", type=Path, metavar="DIR", default=Path("results"), help="default: results")
    explanations.add_argument("--out", type=Path, metavar="DIR", default=Path("docs"), help="default: docs")
    needed = commands.add_parser("experiments", help="list the experiments that studies need, one to a line")
    needed.set_defaults(command=_experiments)
    needed.add_argument("names", nargs="*", metavar="STUDY", help="of these only")
    chosen = commands.add_parser(
        "chosen", help="list the runs of pilot seeds that lie where an experiment's claims choose"
    )
    chosen.set_defaults(command=_chosen)
    chosen.add_argument("--experiment", action="append", required=True, metavar="NAME", help="may be given again")
    chosen.add_argument("--study", action="append", type=Path, default=[], metavar="FOLDER", help=_STUDY)
    chosen.add_argument(
        "runs", nargs="*", type=Path, metavar="RUNS", help="of pilot seeds; none: only whether it has claims"
    )
    for command in (figures, report, card):
        command.add_argument("--study", action="append", type=Path, default=[], metavar="FOLDER", help=_STUDY)
        command.add_argument("--file", action="append", type=Path, default=[], metavar="FILE", help=_FIGURES)
    for command in (report, card, figures, status, table):
        command.add_argument(
            "runs", nargs="+", type=Path, metavar="RUNS", help="a run folder, or any folder above run folders"
        )
    for command in (report, card, compare, figures, table):
        command.add_argument(
            "--results-version",
            type=int,
            metavar="N",
            help="only runs whose results are of this version; of models without any, of the newest before it",
        )
    table.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="KEY",
        help="also this key of the configuration, for example norm.momentum; repeatable",
    )
    table.add_argument("file", type=Path, metavar="FILE", help="FILE.csv or FILE.parquet")
    return parser


def _report(arguments: argparse.Namespace) -> int:
    from analysis import studies
    from analysis.report import write_report

    damaged: Damaged = {}
    path = write_report(
        arguments.runs,
        arguments.out or arguments.runs[0] / "report",
        found=studies.load(arguments.study, arguments.claims),
        further_figures=arguments.file,
        results_version=arguments.results_version,
        damaged=damaged,
        light=arguments.light,
        apart=arguments.apart,
    )
    print(path)
    return _named(damaged)


def _card(arguments: argparse.Namespace) -> int:
    from analysis import studies
    from analysis.card import write_card

    if Path(arguments.arms).is_dir() and not all(path.exists() for path in arguments.runs):
        raise WrongInput(f"{arguments.arms} is a folder: the normalisation comes first, card NORM RUNS")
    damaged: Damaged = {}
    path = write_card(
        arguments.arms,
        arguments.runs,
        arguments.out or arguments.runs[0] / "report",
        by=arguments.by,
        found=studies.load(arguments.study, arguments.claims),
        further_figures=arguments.file,
        results_version=arguments.results_version,
        damaged=damaged,
    )
    print(path)
    return _named(damaged)


def _compare(arguments: argparse.Namespace) -> int:
    from analysis.compare import as_text, compare

    path: Path | None = arguments.csv
    if path is not None and (path.suffix != ".csv" or not path.absolute().parent.is_dir()):
        raise WrongInput(f"--csv {path}: must end in .csv and lie in a folder that exists")
    a, b = arguments.a, arguments.b
    damaged: Damaged = {}
    asked = {"by": arguments.by, "metrics": arguments.metric, "results_version": arguments.results_version}
    table = compare(a, b, arguments.runs, damaged=damaged, **asked)
    print(as_text(table, a, b))
    if path is not None:
        table.to_csv(path, index=False, na_rep="nan")
        print(path.absolute())
    return _named(damaged)


def _figures(arguments: argparse.Namespace) -> int:
    from analysis import figures, studies

    found = studies.load(arguments.study)
    figures.refuse_taken(found)
    own: dict[str, Any] = dict(figures.from_file(file, found) for file in arguments.file)
    for study in found:
        own |= {name: study.figure(name) for name in study.figures if study.of_user}
    names = arguments.only or [*figures.names(), *own]
    modules = {name: own.get(name) or figures.get(name) for name in names}  # a wrong name is told before all
    damaged: Damaged = {}
    runs = figures.Runs.load(arguments.runs, arguments.results_version, damaged=damaged)
    for name, module in modules.items():
        for path in figures.write(name, runs, arguments.out or arguments.runs[0] / "figures", module):
            print(path)
    return _named(damaged)


def _studies(arguments: argparse.Namespace) -> int:
    from analysis import explanations, studies, tiles
    from analysis.files import replace

    found, results = studies.load(), explanations.Results.read(arguments.results)
    pictures: Path = arguments.out.absolute() / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    text = explanations.page(found, results)
    print(replace(arguments.out.absolute() / "studies.md", lambda path: path.write_text(text)))
    print(tiles.write_tiles(found, results, pictures / "scoreboard.png"))
    return 0


def _experiments(arguments: argparse.Namespace) -> int:
    from analysis import studies

    found = studies.load()
    chosen = [studies.get(name, found) for name in arguments.names] or found
    print("\n".join(dict.fromkeys(name for study in chosen for name in study.experiments)))
    return 0


def _chosen(arguments: argparse.Namespace) -> int:
    from analysis import studies
    from analysis.chosen import chosen
    from analysis.runs import Runs

    claims = [claim for study in studies.load(arguments.study) for claim in study.claims]
    for name in arguments.experiment:
        if not any(claim.experiment == name for claim in claims):
            raise WrongInput(f"--experiment {name}: no claim is made for it, so that none chooses among its runs")
    if not arguments.runs:
        return 0
    damaged: Damaged = {}
    runs = Runs.load(arguments.runs, damaged=damaged)
    asked = [claim for claim in claims if claim.experiment in arguments.experiment]
    print(*sorted(chosen(runs, asked)), sep="\n")
    return _named(damaged)


def _status(arguments: argparse.Namespace) -> int:
    from analysis.status import show, watch

    return show(arguments.runs) if arguments.watch is None else watch(arguments.runs, arguments.watch)


def _table(arguments: argparse.Namespace) -> int:
    import pyarrow as pa
    from pyarrow import csv, parquet

    from analysis import load_runs
    from analysis.files import replace

    def plain(field: pa.Field) -> pa.Field:
        return field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field

    path: Path = arguments.file.absolute()
    if path.suffix not in (".csv", ".parquet"):
        raise WrongInput(f"{path.name}: a table is written to a file ending in .csv or .parquet, named last: RUNS FILE")
    if not path.parent.is_dir():
        raise WrongInput(f"no such folder: {path.parent}")
    damaged: Damaged = {}
    frame = load_runs(arguments.runs, arguments.column, results_version=arguments.results_version, damaged=damaged)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    # A value that is NaN was measured and is kept; from_pandas would make it a missing one.
    value = table.schema.get_field_index("value")
    table = table.set_column(value, "value", pa.array(frame["value"].to_numpy(), from_pandas=False))

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            if path.suffix == ".csv":
                csv.write_csv(table.cast(pa.schema(map(plain, table.schema))), file)
            else:
                parquet.write_table(table, file)

    print(replace(path, save))
    return _named(damaged)


if __name__ == "__main__":
    sys.exit(main())
