"""TensorBoard: event files in the run folder, for ``tensorboard --logdir runs``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from experiments.errors import WrongInput
from experiments.mirrors import MIRRORS


@MIRRORS.register("tensorboard")
class TensorBoard:
    """Writes every number as a scalar named probe/metric/layer/position.

    Args:
        folder: the run folder; the files go to ``tensorboard/`` there.
        start: events of an earlier start from this step on are hidden.
    """

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise WrongInput(
                "mirror=tensorboard: its package is missing; pip install tensorboard (or -e '.[tensorboard]')"
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, probe: str, step: int, numbers: Mapping[str, float]) -> None:
        """Adds the numbers of one probe at one step."""
        for name, value in numbers.items():
            self._writer.add_scalar(f"{probe}/{name}", value, step)

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()
