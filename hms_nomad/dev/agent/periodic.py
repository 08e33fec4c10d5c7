"""Jobs with a schedule: when the next run is due, and the run itself, which is a job of its own."""

from __future__ import annotations

from hms_nomad.dev.agent import jobs
from hms_nomad.dev.agent.cron import Schedule
from hms_nomad.dev.agent.store import Store, job_key
from hms_nomad.dev.agent.values import Json, seconds

_LATE_SECONDS = 60.0
_REMEMBERED_RUNS = 20


def schedules(periodic: Json) -> list[Schedule]:
    """The schedules of a job. Raises ValueError for one that cannot be read."""
    texts = periodic.get("Specs") or [periodic.get("Spec") or ""]
    return [Schedule.read(text, periodic.get("TimeZone") or "UTC") for text in texts]


def due_after(job: Json, moment: float) -> float | None:
    """When a job is due the next time, in seconds since 1970; None for one that is stopped or switched off."""
    if job["Stop"] or not job["Periodic"]["Enabled"]:
        return None
    found = [due for one in schedules(job["Periodic"]) if (due := one.after(moment)) is not None]
    return min(found, default=None)


def start(store: Store, job: Json, moment: float) -> tuple[Json, Json]:
    """Begin a run; answers its job and its evaluation."""
    run_id = f"{job['ID']}/periodic-{int(moment)}"
    run = {**job, "ID": run_id, "Name": run_id, "ParentID": job["ID"], "Periodic": None, "Status": ""}
    with store.write() as transaction:
        stored = jobs.upsert(transaction, store, run)
        return stored, jobs.evaluate(transaction, store, stored, "periodic-job")


class Launches:
    """Remembers when each job is due. What was due while no agent ran is made up for by one run."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, float | None]] = {}

    def look(self, store: Store, job: Json, now: float) -> tuple[str, float | None]:
        """Begin the run that is due; answers the key of its job, or "", and when to look again."""
        key, runs = job_key(job["Namespace"], job["ID"]), _runs(store, job)
        index, due = self._due.get(key, (0, None))
        if index != job["JobModifyIndex"]:
            due = due_after(job, max([seconds(job["SubmitTime"]), *(_moment(run) for run in runs)]))
        started = ""
        if due is not None and due <= now:
            if not (job["Periodic"]["ProhibitOverlap"] and any(run["Status"] != "dead" for run in runs)):
                run, _ = start(store, job, due if now - due < _LATE_SECONDS else now)
                started = job_key(run["Namespace"], run["ID"])
            due = due_after(job, now)
        self._due[key] = (job["JobModifyIndex"], due)
        return started, due


def forget_oldest(store: Store, job: Json) -> set[str]:
    """Forget the oldest runs that ended; answers the ids of their instances."""
    over = [run for run in _runs(store, job) if run["Status"] == "dead"]
    gone: set[str] = set()
    with store.write() as transaction:
        for run in over[: max(0, len(over) - _REMEMBERED_RUNS)]:
            key = job_key(run["Namespace"], run["ID"])
            jobs.purge(transaction, store, run)
            for table in ("allocs", "evals"):
                for row in store.of_job(table, key):
                    transaction.remove(table, row["ID"])
                    gone |= {row["ID"]} if table == "allocs" else set()
    return gone


def _runs(store: Store, job: Json) -> list[Json]:
    """The runs of a job, oldest first."""
    own = (job["ID"], job["Namespace"])
    found = [one for one in store.tables["jobs"].values() if (one["ParentID"], one["Namespace"]) == own]
    return sorted(found, key=_moment)


def _moment(run: Json) -> float:
    """When a run was due, in seconds since 1970, by its name."""
    return float(run["ID"].rpartition("-")[2])
