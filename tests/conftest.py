"""Long matrices run only when asked for; sampled ones print their seed."""

from __future__ import annotations

import os
import random

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long matrices in full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        deselected = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


def pytest_configure(config: pytest.Config) -> None:
    # One seed for all workers, so that they collect the same sample of the long matrices.
    os.environ.setdefault("SAMPLE_SEED", str(random.SystemRandom().randrange(10**6)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"matrices are sampled with SAMPLE_SEED={os.environ['SAMPLE_SEED']}"


def sample(cases: list, count: int) -> list:
    """``count`` of ``cases``, drawn with the seed that the report's header shows."""
    return random.Random(int(os.environ["SAMPLE_SEED"])).sample(cases, min(count, len(cases)))
