"""`JobStore`: the jobs of each owner, their events and checkpoints, and the models that they made."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pellucid.serve.tuning.database import Database, QuotaReached, Refused, TableRow, as_json, from_json, new_id, now
from pellucid.serve.tuning.settings import TuningSettings


ENDED = ("succeeded", "failed", "cancelled")
WAITING = "queued"
PREFIXES = {"jobs": "ftjob-", "fine-tunes": "ft-"}  # of ids, by the API that made a job
_WITHOUT_ANSWERS = (
    "seq, id, owner, api, created, status, settings, started, finished, error, model, step, total_steps, trained_tokens, "
    "result_files, NULL AS answers, bytes, starts"
)
CHECKPOINT = ":ckpt-step-"  # between the id of a model and a step: the id of a checkpoint's model


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSettings:
    """What a job was asked to do.

    Attributes:
        base: the id of the model that it begins with. source: what `load` takes for that. model: the id of the new model.
        training_file, validation_file: ids of files; without the second, a part of the first is held out.
        options: of `FinetuningOptions`. seed: of the run. shown: hyperparameters as they were asked for.
        suffix: for the name of the new model. metadata: the client's own words.
    """

    base: str
    source: str
    model: str
    training_file: str
    validation_file: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    shown: Mapping[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    metadata: Mapping[str, str] | None = None


class JobStore:
    """The jobs of all owners.

    Args:
        database: the tables. settings: the quotas.
    """

    def __init__(self, database: Database, settings: TuningSettings) -> None:
        self._database, self._settings = database, settings

    def create(self, owner: str, api: str, settings: JobSettings, reserved: int) -> TableRow:
        """A new job, which waits. `reserved`: bytes that its run may take, which count as its owner's.

        Raises:
            QuotaReached: the owner has as many that have not ended, or as many models, as it may have.
        """
        id = new_id(PREFIXES[api])
        with self._database.changing():
            open_jobs = self._count("jobs", owner, f"AND status NOT IN {ENDED}")
            if open_jobs >= self._settings.jobs:
                raise QuotaReached(f"You have {open_jobs} jobs that have not ended, the most that a key may have")
            models = self._count("models", owner)
            if models + open_jobs >= self._settings.models:
                raise QuotaReached(f"You have {models} models, and jobs that make some: delete one first")
            self._database.insert(
                "jobs", id=id, owner=owner, api=api, created=now(), status=WAITING, settings=as_json(asdict(settings)),
                result_files="[]", bytes=reserved,
            )  # fmt: skip
            self.add_event(id, "created", f"Created fine-tuning job: {id}")
            ahead = self._count_waiting() - 1
            others = f" (others that wait or run: {ahead})" if ahead else ""
            self.add_event(id, "queued", f"Fine-tuning job queued{others}")
        return self.find(owner, id)

    def _count(self, table: str, owner: str, more: str = "") -> int:
        row = self._database.row(f"SELECT count(*) AS n FROM {table} WHERE owner = ? {more}", owner)
        assert row is not None
        return int(row["n"])

    def _count_waiting(self) -> int:
        row = self._database.row(f"SELECT count(*) AS n FROM jobs WHERE status NOT IN {ENDED}")
        assert row is not None
        return int(row["n"])

    def find(self, owner: str, id: str, api: str | None = None) -> TableRow:
        """A job of an owner.

        Raises:
            NotThere: it has none of this id (made by `api`, if that is given).
        """
        made_by = {} if api is None else {"api": api}
        return self._database.owned("jobs", owner, id, "Could not find fine tune", **made_by)

    def job(self, id: str) -> TableRow:
        """A job, whoever owns it: for what runs it."""
        row = self._database.row("SELECT * FROM jobs WHERE id = ?", id)
        assert row is not None
        return row

    def page(
        self, owner: str, api: str | None, *, after: str | None, limit: int, newest_first: bool = True,
        metadata: Mapping[str, str] | None = None, answers: bool = True,
    ) -> tuple[list[TableRow], bool]:  # fmt: skip
        """Jobs of an owner; see `Database.page`. `api`: None: those of both. `metadata`: that they must have. `answers`:
        whether their tables of answers are read."""
        where, values = ("owner = ?", [owner]) if api is None else ("owner = ? AND api = ?", [owner, api])
        for key, value in (metadata or {}).items():
            where += " AND EXISTS (SELECT 1 FROM json_each(settings, '$.metadata') AS m WHERE m.key = ? AND m.value = ?)"
            values += [key, value]
        columns = "*" if answers else _WITHOUT_ANSWERS
        return self._database.page(
            "jobs", where, values, after=after, limit=limit, newest_first=newest_first, columns=columns
        )  # fmt: skip

    def events(self, job: str, *, after: str | None, limit: int, newest_first: bool = True) -> tuple[list[TableRow], bool]:
        """Events of a job; see `Database.page`."""
        return self._database.page("events", "job = ?", [job], after=after, limit=limit, newest_first=newest_first)

    def events_since(self, job: str, seq: int) -> list[TableRow]:
        """The events of a job after one, the oldest first."""
        return self._database.rows("SELECT * FROM events WHERE job = ? AND seq > ? ORDER BY seq", job, seq)

    def checkpoints(self, job: str, *, after: str | None, limit: int) -> tuple[list[TableRow], bool]:
        """Checkpoints of a job, the newest first; see `Database.page`."""
        return self._database.page("checkpoints", "job = ?", [job], after=after, limit=limit, newest_first=True)

    def add_event(
        self, job: str, name: str, message: str, *, level: str = "info", data: Mapping[str, Any] | None = None
    ) -> bool:
        """Adds an event, unless the job has one of that name: steps that are taken again after a kill are told once."""
        return self._database.insert(
            "events", or_ignore=True, id=new_id("ftevent-"), job=job, name=name, created=now(), level=level, message=message,
            data=as_json(data or {}),
        )  # fmt: skip

    def add_checkpoint(self, job: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds a checkpoint, unless it is there."""
        self._database.insert(
            "checkpoints", or_ignore=True, id=new_id("ftckpt-"), job=job, step=step, created=now(), metrics=as_json(metrics)
        )

    def next_waiting(self) -> TableRow | None:
        """The job that runs next: one that was interrupted; else one of the owner who has waited longest for a start, so that
        an owner with many jobs does not keep the others waiting. Within an owner the oldest. Starts are compared by the order
        of their events: a clock may be set back."""
        return self._database.row(
            "SELECT * FROM jobs AS waiting WHERE status = ? ORDER BY started IS NULL, "
            "(SELECT max(events.seq) FROM jobs AS known JOIN events ON events.job = known.id AND events.name = 'started' "
            "WHERE known.owner = waiting.owner), seq LIMIT 1",
            WAITING,
        )  # fmt: skip

    def begin(self, job: TableRow) -> TableRow | None:
        """A job that waits begins to run. Returns its row; None where it does not: it may have been cancelled."""
        with self._database.changing():
            began = self._database.update(
                "jobs", "id = ? AND status = ?", [job["id"], WAITING], status="running", started=job["started"] or now(),
                starts=job["starts"] + 1,
            )  # fmt: skip
            if began and job["started"] is None:
                self.add_event(job["id"], "started", "Fine-tuning job started")
            return self.job(job["id"]) if began else None

    def progress(self, id: str, **values: Any) -> None:
        """Notes how far a job is: step, total_steps, trained_tokens, bytes, starts."""
        self._database.update("jobs", "id = ?", [id], **values)

    def wait_again(self, id: str, why: str, name: str) -> None:
        """A job that runs waits again: its process has ended, and another goes on from its checkpoint."""
        with self._database.changing():
            if self._database.update("jobs", "id = ? AND status = 'running'", [id], status=WAITING):
                self.add_event(id, name, why, level="warn")

    def interrupted(self) -> list[TableRow]:
        """The jobs that ran when the server ended."""
        return self._database.rows("SELECT * FROM jobs WHERE status = 'running'")

    def end(self, id: str, status: str, message: str, *, error: Mapping[str, Any] | None = None, **values: Any) -> bool:
        """A job ends, unless it has ended. Returns whether it did."""
        with self._database.changing():
            ended = self._database.update(
                "jobs", f"id = ? AND status NOT IN {ENDED}", [id], status=status, finished=now(),
                **{"bytes": 0, **values}, error=None if error is None else as_json(error),
            )  # fmt: skip
            if ended:
                self.add_event(id, "ended", message, level="error" if status == "failed" else "info", data=error)
            return ended > 0

    def cancel(self, owner: str, id: str, api: str | None = None) -> TableRow:
        """Cancels a job of an owner.

        Raises:
            NotThere: it has none of this id. Refused: it has ended.
        """
        self.find(owner, id, api)
        if not self._database.freeing(lambda: self.end(id, "cancelled", "The job was cancelled")):
            raise Refused(f"The job {id} has ended already: it {_PAST[self.job(id)['status']]}")
        return self.job(id)

    # Models.

    def add_model(self, job: TableRow) -> None:
        """Makes the result of a job that has succeeded a model of its owner; call it in the transaction that ends the job."""
        settings = from_json(job["settings"])
        self._database.insert("models", or_ignore=True, id=settings["model"], owner=job["owner"], job=job["id"], created=now())
        self._database.update("jobs", "id = ?", [job["id"]], model=settings["model"])

    def models(self, owner: str) -> list[TableRow]:
        """The models of an owner."""
        return self._database.rows("SELECT * FROM models WHERE owner = ? ORDER BY seq", owner)

    def model(self, owner: str, id: str) -> TableRow:
        """A model of an owner.

        Raises:
            NotThere: it has none of this id.
        """
        return self._database.owned("models", owner, id, "That model does not exist")

    def delete_model(self, owner: str, id: str) -> TableRow:
        """Deletes the row of a model; returns its job.

        Raises:
            NotThere: there is none of this id. Refused: a job that waits or runs begins with it.
        """
        return self._database.freeing(lambda: self._delete_model_row(owner, id))

    def _delete_model_row(self, owner: str, id: str) -> TableRow:
        with self._database.changing():
            model = self.model(owner, id)
            for job in self._database.rows(f"SELECT id, settings FROM jobs WHERE owner = ? AND status NOT IN {ENDED}", owner):
                base = from_json(job["settings"])["base"]
                if base == id or base.startswith(f"{id}{CHECKPOINT}"):
                    raise Refused(f"{id} is what {job['id']} begins with, which has not ended: cancel that first")
            self._database.delete("models", "id = ?", id)
            self._database.delete("checkpoints", "job = ?", model["job"])
            self._database.update("jobs", "id = ?", [model["job"]], bytes=0)
            return self.job(model["job"])

    def forget_oldest(self, owner: str) -> list[TableRow]:
        """Deletes the oldest jobs that have ended and have no model, but for `TuningSettings.ended_jobs` of them, with their
        events. Returns them: what lies on the disk is to be removed, too."""
        with self._database.changing():
            gone = self._database.rows(
                f"SELECT * FROM jobs WHERE owner = ? AND status IN {ENDED} AND id NOT IN (SELECT job FROM models) "
                "ORDER BY seq DESC LIMIT -1 OFFSET ?", owner, self._settings.ended_jobs,
            )  # fmt: skip
            for job in gone:
                for table in ("events", "checkpoints"):
                    self._database.delete(table, "job = ?", job["id"])
                self._database.delete("jobs", "id = ?", job["id"])
        return gone

    def statuses(self) -> dict[str, str]:
        """The status of every job by its id."""
        return {row["id"]: row["status"] for row in self._database.rows("SELECT id, status FROM jobs")}

    def has_model(self, job: str) -> bool:
        """Whether the model that a job made is still there."""
        return self._database.row("SELECT id FROM models WHERE job = ?", job) is not None

    def drop_checkpoints(self, job: str, steps: Iterable[int]) -> None:
        """Takes away checkpoints that the run no longer has."""
        for step in steps:
            self._database.delete("checkpoints", "job = ? AND step = ?", job, step)

    def checkpoint_steps(self, job: str) -> set[int]:
        """The steps of a job's checkpoints."""
        return {row["step"] for row in self._database.rows("SELECT step FROM checkpoints WHERE job = ?", job)}

    def checkpoint(self, job: str, step: int) -> bool:
        """Whether a job has the checkpoint of a step."""
        return self._database.row("SELECT id FROM checkpoints WHERE job = ? AND step = ?", job, step) is not None


_PAST = {"succeeded": "has succeeded", "failed": "has failed", "cancelled": "was cancelled"}
