"""What Hydra finds of this suite: it builds sweepers of the namespace hydra_plugins only (hence no __init__.py)."""

from experiments.sweeps import plugin


class SuiteSweeper(plugin.SuiteSweeper):
    """``hydra/sweeper=suite``."""
