"""Long matrices run only when asked for, and within a time if one is given; the seed of what is drawn is printed."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
import torch
from _pytest.mark.structures import ParameterSet

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long matrices in full")
    parser.addoption(
        "--within",
        type=float,
        metavar="SECONDS",
        help="files in an order drawn with SAMPLE_SEED; what has not begun after this time is skipped and counted",
    )


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """The command line, called in a test's process, logs to that test's standard error, which is closed after it."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        deselected = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    if config.getoption("--within") is not None:
        # By files, so that what a file's tests share is made once by a worker.
        files: dict[Any, list[pytest.Item]] = {}
        for item in items:
            files.setdefault(item.path, []).append(item)
        items[:] = [item for path in sample(list(files), len(files)) for item in files[path]]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    within = item.config.getoption("--within")
    if within is not None and time.time() - float(os.environ["TESTS_BEGAN"]) > within:
        pytest.skip(f"the {within:g} seconds of --within are over")


def pytest_configure(config: pytest.Config) -> None:
    # One seed for all workers, so that they collect the same sample of the long matrices, in the same order.
    os.environ.setdefault("SAMPLE_SEED", str(random.SystemRandom().randrange(10**6)))
    if not hasattr(config, "workerinput"):  # workers take over when the first process began, and no one else's time
        os.environ["TESTS_BEGAN"] = str(time.time())
    if config.getoption("--long"):
        os.environ["SAMPLE_NOTHING"] = "1"


def pytest_report_header(config: pytest.Config) -> str:
    return f"long matrices are drawn with SAMPLE_SEED={os.environ['SAMPLE_SEED']}"


def sample(cases: Sequence[Any], count: int) -> list[Any]:
    """``count`` of ``cases``, drawn with the seed that the report's header shows."""
    return random.Random(int(os.environ["SAMPLE_SEED"])).sample(list(cases), min(count, len(cases)))


def partly(cases: Iterable[Any], count: int) -> list[Any]:
    """For ``parametrize``: all of ``cases``, of which all but a sample of ``count`` are long; with --long all are."""
    cases = list(cases)
    drawn = [] if "SAMPLE_NOTHING" in os.environ else sample(range(len(cases)), count)
    return [case if i in drawn else _long(case) for i, case in enumerate(cases)]


def _long(case: Any) -> Any:
    if isinstance(case, ParameterSet):
        return case._replace(marks=(*case.marks, pytest.mark.long))
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
