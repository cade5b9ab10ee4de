"""`python -m analysis`: figures, the state of runs, and their numbers as one table.

Exit code 0: done; 1: it could not be done (a damaged file, a full disk); 2: something that was asked for is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from analysis.errors import DamagedFile, WrongInput

if TYPE_CHECKING:
    import pandas as pd

SILENT_SECONDS = 600  # a run that trains renews its heartbeat far more often


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
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        return _say(f"cannot use {error.filename}: {error.strerror}; give a place where files can be written", 2)
    except OSError as error:
        return _say(f"cannot write {error.filename or ''}: {error.strerror or error}", 1)


def _say(error: object, code: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description="Figures and tables from run folders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    figures = commands.add_parser("figures", help="draw the figures (SVG, PNG, PDF, and their numbers as CSV)")
    figures.set_defaults(command=_figures)
    figures.add_argument("--out", type=Path, metavar="DIR", help="where to (default: figures in the first RUNS)")
    figures.add_argument("--only", action="append", metavar="NAME", help="this figure only; may be given again")
    status = commands.add_parser("status", help="how far each run is")
    status.set_defaults(command=_status)
    table = commands.add_parser("table", help="all numbers of all runs as one table")
    table.set_defaults(command=_table)
    for command in (figures, status, table):
        command.add_argument(
            "runs", nargs="+", type=Path, metavar="RUNS", help="a folder of run folders, or one run folder"
        )
    for command in (figures, table):
        command.add_argument(
            "--results-version", type=int, metavar="N", help="only runs whose results are of this version"
        )
    table.add_argument("file", type=Path, metavar="FILE", help="FILE.csv or FILE.parquet")
    return parser


def _figures(arguments: argparse.Namespace) -> int:
    from analysis import figures, load_runs

    names = arguments.only or figures.names()
    for name in names:
        figures.get(name)  # a wrong name is told before anything is drawn
    runs = load_runs(arguments.runs, results_version=arguments.results_version)
    for name in names:
        for path in figures.write(name, runs, arguments.out or arguments.runs[0] / "figures"):
            print(path)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from analysis import load_status

    status = load_status(arguments.runs)
    rows = [("run", "state", "step", "message")]
    rows += [(row.run, row.state, _steps(row), _message(row)) for row in status.itertuples()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    counts = Counter(status["state"])
    told = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    print(f"{len(status)} runs: {', '.join(f'{count} {state}' for state, count in told)}")
    return 1 if "damaged" in counts else 0


def _steps(row: pd.Series) -> str:
    return "/".join("?" if value != value else f"{value:.0f}" for value in (row.step, row.steps))


def _message(row: pd.Series) -> str:
    if isinstance(row.message, str):
        return " ".join(row.message.split())
    if row.state == "diverged":
        return f"diverged at step {row.diverged_at:.0f}"
    silent = time.time() - row.heartbeat
    if row.state == "running" and silent > SILENT_SECONDS:
        return f"no sign of life for {silent / 60:.0f} min"
    return ""


def _table(arguments: argparse.Namespace) -> int:
    import pyarrow as pa
    from pyarrow import csv, parquet

    from analysis import load_runs

    def plain(field: pa.Field) -> pa.Field:
        return field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field

    path: Path = arguments.file.absolute()
    if path.suffix not in (".csv", ".parquet"):
        raise WrongInput(f"{path.name}: a table is written to a file ending in .csv or .parquet")
    if not path.parent.is_dir():
        raise WrongInput(f"no such folder: {path.parent}")
    frame = load_runs(arguments.runs, results_version=arguments.results_version)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    # A value that is NaN was measured and is kept; from_pandas would make it a missing one.
    value = table.schema.get_field_index("value")
    table = table.set_column(value, "value", pa.array(frame["value"].to_numpy(), from_pandas=False))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            if path.suffix == ".csv":
                csv.write_csv(table.cast(pa.schema(map(plain, table.schema))), file)
            else:
                parquet.write_table(table, file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
