"""``exec``: a command in a running instance of a service, noted in the audit trail before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from hms_nomad.apply.progress import Report
from hms_nomad.clients.nomad_exec import Resized, TaskCommand, Typed
from hms_nomad.clients.nomad_types import Allocation
from hms_nomad.compile.names import TASK
from hms_nomad.workflows.deploying.guard import know_the_embedded
from hms_nomad.workflows.deploying.run_record import Intent, accessor, record_of, run_of
from hms_nomad.workflows.operating.audit import trail_of
from hms_nomad.workflows.operating.instances import absent, instances_of, job_meant, with_task
from hms_nomad.workflows.session import Session

_RUNNING = "running"


class Wish(Struct, frozen=True):
    """What is to run where: the words of a command, in a ``task`` of one instance.

    The instance is the one whose id begins with ``allocation``, else one of the release that is being rolled out
    (``canary``), else one that takes traffic. ``tty`` gives the command a terminal.
    """

    words: tuple[str, ...]
    task: str = TASK
    allocation: str = ""
    canary: bool = False
    tty: bool = False


class Dialogue(Struct, frozen=True):
    """Both ends of what is said with the command: ``incoming`` is typed, ``wrote`` hears of what it writes."""

    incoming: Iterable[Typed | Resized]
    wrote: Callable[[str, bytes], None]


class Chosen(Struct, frozen=True):
    """The instance in which a command runs: its id, the name of its node, and the task."""

    service: str
    allocation: str
    node: str
    task: str


def choose_instance(session: Session, name: str, wish: Wish, report: Report) -> Chosen:
    """Find the running instance that is meant; the newest of several, since that has the newest release.

    Raises NotFoundError when no such instance runs, ForeignObjectError for a job of others, PlatformError for the
    embedded agent outside of development, and the errors of ``hms_nomad.clients.errors``.
    """
    operation = f"run a command in {name}"
    job = job_meant(session, name, operation)
    know_the_embedded(session, report)
    found = with_task(session, name, operation, instances_of(session, job, operation, wish.allocation), wish.task)
    running = [one for one in found if _runs(one, wish.task)]
    fitting = running if wish.allocation else [one for one in running if one.canary is wish.canary]
    if not fitting:
        raise absent(session, operation, _why_none(name, found, running, wish))
    # Healthy ones first: a shell in one that is about to be replaced helps nobody who did not ask for it.
    best = max(fitting, key=lambda one: (one.healthy is not False, one.create_index))
    return Chosen(name, best.id, best.node_name, wish.task)


def run_command(session: Session, chosen: Chosen, wish: Wish, dialogue: Dialogue) -> int:
    """Run a command in the chosen instance; answers its exit code, from 0 to 255.

    The audit trail has it before it begins, by its program's name alone: the other words may be secrets. Raises
    AuditError where it cannot be noted, and as ``NomadClient.run_in_task``.
    """
    _note(session, chosen, wish)
    command = TaskCommand(chosen.allocation, chosen.task, wish.words, wish.tty)
    return session.nomad.run_in_task(command, dialogue.incoming, dialogue.wrote)


def _runs(allocation: Allocation, task: str) -> bool:
    state = allocation.tasks.get(task)
    return allocation.client_status == _RUNNING and state is not None and state.state == _RUNNING


def _why_none(name: str, found: list[Allocation], running: list[Allocation], wish: Wish) -> str:
    if wish.allocation:
        states = ", ".join(f"{one.id[:8]} is {one.client_status}" for one in found)
        return f"task {wish.task} does not run there: {states}"
    if wish.canary and running:
        return f"{name} has no canary now; hms-nomad status {name} shows its instances"
    if running:
        return f"all that run are canaries; say --canary, or --alloc {running[0].id[:8]}"
    return f"task {wish.task} runs in no instance; hms-nomad logs {name} says what came of the last ones"


def _note(session: Session, chosen: Chosen, wish: Wish) -> None:
    trail = trail_of(session)
    if trail is None:
        return
    message = f"{wish.words[0]} in task {chosen.task} of {chosen.allocation[:8]} on {chosen.node}"
    run = run_of(session, chosen.service, Intent("exec", message=message), None)
    trail.append(record_of(session, replace(run, accessor=accessor(session)), "begun"))
