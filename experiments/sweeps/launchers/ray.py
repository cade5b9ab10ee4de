"""Ray: one machine with several GPUs, or a cluster. Ray places the runs, by parts of a GPU, and retries lost ones."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import Interrupted, WrongInput
from experiments.runs.folder import read_status
from experiments.sweeps.job import Job, Result, mark_dead
from experiments.sweeps.launchers import LAUNCHERS, cores

_SUITE = Path(__file__).parents[3]


@LAUNCHERS.register("ray")
class Ray:
    """Ray tasks; the options are those of conf/launcher/ray.yaml.

    Args:
        runs_dir: of the sweep; on a disk that the cluster's nodes share.
        address: of a running cluster; None: this machine.
        cpus: cores of this machine that Ray may use; None: all.
        gpu_share: part of a GPU that one run takes.
        retries: times that a run whose process died is tried again.
    """

    def __init__(
        self,
        runs_dir: Path,
        *,
        address: str | None = None,
        cpus: int | None = None,
        gpu_share: float = 1.0,
        retries: int = 3,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise WrongInput("launcher=ray: the package ray is missing; pip install ray (or -e '.[ray]')") from error
        if address is not None and cpus is not None:
            raise WrongInput(f"launcher.cpus={cpus}: only without launcher.address; a running cluster knows its own")
        if not 0 < gpu_share <= 1:
            raise WrongInput(f"launcher.gpu_share={gpu_share}: must be above 0 and at most 1")
        if retries < 0:
            raise WrongInput(f"launcher.retries={retries}: must be at least 0")
        self._ray: Any = ray
        self.address, self.cpus, self.gpu_share, self.retries = address, cpus or cores(), gpu_share, retries

    def concurrent(self, jobs: Sequence[Job]) -> int:
        threads = max((job.config["threads"] for job in jobs), default=1)
        return min(len(jobs), max(1, self.cpus // threads))

    def launch(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        ray = self._ray
        own: dict[str, Any] = {} if self.address else {"num_cpus": self.cpus, "include_dashboard": False}
        environment = {"env_vars": {"PYTHONPATH": str(_SUITE)}}
        _check_reachable(self.address)
        try:
            ray.init(self.address, log_to_driver=False, logging_level="error", runtime_env=environment, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise WrongInput(f"launcher.address={self.address}: no Ray cluster there: {error}") from error
        running: dict[Any, Job] = {}
        try:
            with_gpu = ray.cluster_resources().get("GPU", 0) > 0
            for job in jobs:
                gpus = self.gpu_share if with_gpu and job.config["device"] != "cpu" else 0
                task = ray.remote(num_cpus=job.config["threads"], num_gpus=gpus, max_retries=self.retries)(_carry_out)
                running[task.remote(job.config)] = job
            while running:
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    yield self._ended(running.pop(reference), reference)
        finally:
            for reference in running:  # only where the sweep was stopped: each run saves
                ray.cancel(reference)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=120)
            ray.shutdown()

    def _ended(self, job: Job, reference: Any) -> tuple[Job, Result]:
        try:
            return job, self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = f"its process died ({str(error).strip().splitlines()[0]})"
            mark_dead(job, (read_status(job.path) or {}).get("pid", 0), reason, str(error))
            return job, Result("failed", reason)


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes.

    Raises:
        WrongInput: nobody answers at host:port.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or this machine
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise WrongInput(f"launcher.address={address}: no Ray cluster there: {error.strerror or error}") from error


def _carry_out(config: dict[str, Any]) -> Result:
    from experiments.memory import keep_freed_memory
    from experiments.sweeps.job import carry_out

    keep_freed_memory()
    with contextlib.suppress(Interrupted):
        return carry_out(config)
    return Result("interrupted", "stopped by a signal")
