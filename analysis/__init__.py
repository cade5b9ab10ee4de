"""What runs mean: tables, statistics and figures from run folders. Needs neither torch nor the code that trained them.

`load_runs` gives the records as one table, `load_arrays` histograms and other arrays, `load_status` how far each run
is. They are imported when first asked for, so that `python -m analysis --help` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.loader import load_arrays, load_descriptions, load_runs, load_status

__all__ = ["load_arrays", "load_descriptions", "load_runs", "load_status"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    from analysis import loader

    return getattr(loader, name)
