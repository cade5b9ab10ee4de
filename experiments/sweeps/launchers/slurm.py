"""A Slurm cluster, through submitit: an array of Slurm jobs, each of which carries out one or several runs.

A Slurm job that is preempted or reaches its time limit lets its runs save, is queued again, and goes on in the same
folders. What was submitted is noted under runs_dir/.sweep/slurm, so that the same command, typed again, attaches to
what is still queued instead of submitting it twice.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import RunFailure, WrongInput
from experiments.runs.format import SWEEP
from experiments.sweeps.job import Job, Result
from experiments.sweeps.launchers import LAUNCHERS
from experiments.sweeps.launchers.local import Local

POLL_SECONDS = 2.0
PREEMPTION_SECONDS = 300.0
"""After SIGTERM Slurm ends a job within its grace time, and queues it again where it preempted it."""
EARLY_SECONDS = 60
"""sbatch's manual on --signal: the signal may be sent up to 60 seconds earlier than asked for."""
_SUITE = Path(__file__).parents[3]


@LAUNCHERS.register("slurm")
class Slurm:
    """Slurm jobs; the options are those of conf/launcher/slurm.yaml.

    Args:
        runs_dir: of the sweep; on a disk that the cluster's nodes share.
        partition, account, minutes, memory_gb, gpus, cpus: what one Slurm job asks for.
        setup: shell lines before it starts.
        gpu_share: part of a GPU that one run takes.
        runs_per_job: runs that one Slurm job carries out.
        at_a_time: Slurm jobs at a time; None: no bound.
        requeues: times that a Slurm job goes on after its time limit.
        warning_seconds: before the time limit, to save in.
        wait: stay until all have ended.
        sbatch: further options of sbatch by name.
    """

    def __init__(
        self,
        runs_dir: Path,
        *,
        partition: str | None = None,
        account: str | None = None,
        minutes: int = 240,
        memory_gb: float = 4,
        gpus: int = 0,
        cpus: int = 1,
        setup: list[str] | None = None,
        gpu_share: float = 1.0,
        runs_per_job: int = 1,
        at_a_time: int | None = None,
        requeues: int = 1000,
        warning_seconds: int = 90,
        wait: bool = True,
        sbatch: dict[str, Any] | None = None,
    ) -> None:
        for name, value in (
            ("minutes", minutes),
            ("memory_gb", memory_gb),
            ("cpus", cpus),
            ("runs_per_job", runs_per_job),
        ):
            if value <= 0:
                raise WrongInput(f"launcher.{name}={value}: must be above 0")
        if not 0 < gpu_share <= 1:
            raise WrongInput(f"launcher.gpu_share={gpu_share}: must be above 0 and at most 1")
        if warning_seconds < 0:
            raise WrongInput(f"launcher.warning_seconds={warning_seconds}: must be at least 0")
        least = int((warning_seconds + EARLY_SECONDS) // 60) + 1
        if minutes < least:
            raise WrongInput(
                f"launcher.minutes={minutes}: Slurm warns up to {EARLY_SECONDS} seconds before "
                f"launcher.warning_seconds={warning_seconds}, and would end the job before it starts; at least {least}"
            )
        try:
            import submitit
        except ImportError as error:
            raise WrongInput(
                "launcher=slurm: the package submitit is missing; pip install submitit (or -e '.[slurm]')"
            ) from error
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise WrongInput(
                "launcher=slurm: no sbatch on this machine; start the sweep where Slurm jobs can be submitted"
            )
        self._submitit = submitit
        self.folder = runs_dir / SWEEP / "slurm"
        self.partition, self.runs_per_job, self.wait = partition, runs_per_job, wait
        self.requeues, self.gpus, self.cpus, self.gpu_share = requeues, gpus, cpus, gpu_share
        wanted: dict[str, Any] = {
            "partition": partition,
            "account": account,
            "time": minutes,
            "mem": f"{memory_gb * 1024:.0f}M",
            "gpus_per_node": gpus or None,
            "cpus_per_task": cpus,
            "array_parallelism": at_a_time,
        }
        known = submitit.SlurmExecutor._valid_parameters()
        further = dict(sbatch or {})
        self.parameters = {
            **{name: further.pop(name) for name in [*further] if name in known},
            **{name: value for name, value in wanted.items() if value is not None},
            "job_name": "batchnorm",
            "signal_delay_s": warning_seconds,
            "setup": [*(setup or []), f"export PYTHONPATH={shlex.quote(str(_SUITE))}${{PYTHONPATH:+:$PYTHONPATH}}"],
            "additional_parameters": further,
        }

    def concurrent(self, jobs: Sequence[Job]) -> int:
        slots = -(-len(jobs) // self.runs_per_job)
        return min(len(jobs), min(slots, self.parameters.get("array_parallelism", slots)) * self._at_a_time(jobs))

    def _at_a_time(self, jobs: Sequence[Job]) -> int:
        """Runs at a time within one Slurm job."""
        if self.gpus:
            return self.gpus * int(1 / self.gpu_share + 1e-9)
        return max(1, self.cpus // max(job.config["threads"] for job in jobs))

    def launch(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        by_name = {job.path.name: job for job in jobs}
        handles = self._still_queued(by_name)
        attached = {name for names in handles.values() for name in names}
        if attached:
            print(f"{len(attached)} runs are in the queue already: Slurm jobs {', '.join(sorted(handles))}", flush=True)
        fresh = [job for job in jobs if job.path.name not in attached]
        handles |= self._submit(fresh) if fresh else {}
        if not self.wait:
            for names in handles.values():
                yield from ((by_name[name], Result("submitted", "")) for name in names)
            return
        while handles:
            time.sleep(POLL_SECONDS)
            queued = self._queued(handles)
            for handle in [handle for handle in handles if handle not in queued]:
                for name in handles.pop(handle):
                    yield by_name[name], self._result(by_name[name], handle)

    def _submit(self, jobs: Sequence[Job]) -> dict[str, list[str]]:
        """Slurm job -> names of its runs."""
        chunks = [jobs[i : i + self.runs_per_job] for i in range(0, len(jobs), self.runs_per_job)]
        tasks = [Chunk([job.config for job in chunk], self._at_a_time(chunk), self.gpu_share) for chunk in chunks]
        self.folder.mkdir(parents=True, exist_ok=True)
        executor = self._submitit.SlurmExecutor(self.folder / "%j", max_num_timeout=self.requeues)
        try:
            executor.update_parameters(**self.parameters)
            submitted = executor.map_array(_call, tasks)
        except (subprocess.CalledProcessError, self._submitit.core.utils.FailedJobError) as error:
            said = getattr(error, "stderr", None) or error
            lines = [line for line in (said.decode() if isinstance(said, bytes) else str(said)).splitlines() if line]
            why = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
            raise WrongInput(
                f"launcher.partition={self.partition}: Slurm refused the job ({why.strip()}); partitions here: "
                f"{', '.join(_partitions()) or 'none'}"
            ) from error
        except ValueError as error:
            raise WrongInput(f"launcher.sbatch: {' '.join(str(error).split())}") from error
        handles = {job.job_id: [j.path.name for j in chunk] for job, chunk in zip(submitted, chunks, strict=True)}
        with open(self.folder / "submitted.jsonl", "a", encoding="utf-8") as file:
            for handle, names in handles.items():
                file.write(json.dumps({"job": handle, "runs": names}) + "\n")
        first = next(iter(handles)).split("_")[0]
        print(
            f"submitted {len(jobs)} runs as {len(handles)} Slurm jobs ({first}); scancel {first} stops them", flush=True
        )
        return handles

    def _still_queued(self, by_name: Mapping[str, Job]) -> dict[str, list[str]]:
        """Of what earlier calls submitted: Slurm jobs that have not ended, and those of their runs we look for."""
        file = self.folder / "submitted.jsonl"
        if not file.exists():
            return {}
        lines = []
        for text in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the half-written last line of a killed driver
                lines.append(json.loads(text))
        known = {line["job"]: [name for name in line["runs"] if name in by_name] for line in lines}
        wanted = {handle: names for handle, names in known.items() if names}
        queued = self._queued(wanted) if wanted else set()
        return {handle: names for handle, names in wanted.items() if handle in queued}

    def _queued(self, handles: Mapping[str, Any]) -> set[str]:
        """Those of the Slurm jobs that have not ended."""
        command = ["squeue", "--noheader", "--array", "--format=%i %T", "--me"]
        for attempt in range(5):
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                ended = (
                    "COMPLETED",
                    "FAILED",
                    "CANCELLED",
                    "TIMEOUT",
                    "OUT_OF_MEMORY",
                    "NODE_FAIL",
                    "DEADLINE",
                    "BOOT_FAIL",
                )
                told = dict(line.split() for line in answer.stdout.splitlines())
                return {handle for handle in handles if told.get(handle, "COMPLETED") not in ended}
            time.sleep(2.0 * 2**attempt)  # the controller is busy, or restarting
        raise RunFailure(f"Slurm does not answer (squeue: {answer.stderr.strip()}); what was submitted goes on")

    def _result(self, job: Job, handle: str) -> Result:
        """How a run stands whose Slurm job has ended."""
        standing = job.standing()
        if standing.ended or standing.state in ("wrong input", "failed"):
            return Result(standing.state, standing.note or str(job.path))
        if standing.state == "running":  # by somebody else
            return Result("busy", standing.note)
        told = self._told(handle, job)
        if told is not None and told.code:
            return told
        log = next(iter((self.folder / handle.split("_")[0]).glob(f"{handle}_0_log.err")), self.folder)
        return Result(
            "failed", f"Slurm job {handle} ended without finishing the run, which is {standing.state}; see {log}"
        )

    def _told(self, handle: str, job: Job) -> Result | None:
        """What the Slurm job itself says of the run, if it came to its end."""
        try:
            outcome = self._submitit.SlurmJob(self.folder / "%j", handle).paths
            kind, results = self._submitit.core.utils.pickle_load(outcome.result_pickle)
        except (OSError, EOFError, ValueError):
            return None
        return (
            results.get(job.path.name) if kind == "success" else Result("failed", str(results).strip().splitlines()[-1])
        )


def _partitions() -> list[str]:
    answer = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False)
    return sorted(set(answer.stdout.split()))


class Chunk:
    """What one Slurm job does: some runs, by worker processes of its own; submitit stores it with pickle."""

    def __init__(self, configs: Sequence[dict[str, Any]], at_a_time: int, gpu_share: float) -> None:
        self.configs, self.at_a_time, self.gpu_share = list(configs), at_a_time, gpu_share
        self._local: Local | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_local": None}

    def run(self) -> dict[str, Result]:
        from experiments.sweeps.job import list_jobs

        jobs = list_jobs(("", config) for config in self.configs)
        self._local = Local(jobs[0].path.parent, workers=self.at_a_time, gpu_share=self.gpu_share)
        results: dict[str, Result] = {}
        for job, result in self._local.launch(jobs):
            results[job.path.name] = result
            if result.state == "interrupted":  # preempted, or cancelled: it is not for this process to end well
                self._local.stop()
                time.sleep(PREEMPTION_SECONDS)
                break
        return results

    def stop(self) -> None:
        """Lets the runs save."""
        if self._local is not None:
            self._local.stop()


class _Call:
    """The function that submitit calls, and asks for what is left when the Slurm job must end."""

    def __call__(self, chunk: Chunk) -> dict[str, Result]:
        return chunk.run()

    def checkpoint(self, chunk: Chunk) -> Any:
        from submitit.helpers import DelayedSubmission

        chunk.stop()
        return DelayedSubmission(self, chunk)


_call = _Call()
