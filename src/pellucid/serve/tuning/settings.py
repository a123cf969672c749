"""`TuningSettings`: the quotas of a key, and how jobs run."""

from dataclasses import dataclass

from pellucid.resources import available_cpus


MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningSettings:
    """Quotas of each owner, and limits of jobs.

    Attributes:
        file_bytes: of one upload. storage_bytes: of all uploads, and of the runs of jobs. files: uploads. record_bytes: of the
            records of completions; of more the oldest are deleted.
        jobs: that wait or run. models: fine-tuned ones. ended_jobs: that have ended and have no model (any more): of more the
            oldest are deleted.
        at_once: jobs that run at the same time. threads: CPU threads of each. niceness: of their processes (POSIX).
        open_models: fine-tuned models, of all owners, that are kept in memory at once.
        lost_starts: times that a job's process may end without a reason and without progress before the job has failed.
    """

    file_bytes: int = 100 * MIB
    storage_bytes: int = 10_000 * MIB
    files: int = 200
    record_bytes: int = 1000 * MIB
    jobs: int = 20
    ended_jobs: int = 1000
    models: int = 100
    at_once: int = 1
    threads: int = max(1, available_cpus() // 2)
    niceness: int = 15
    open_models: int = 8
    lost_starts: int = 3
