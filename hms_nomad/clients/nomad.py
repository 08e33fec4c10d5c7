"""The client for one Nomad cluster and namespace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from hms_nomad.clients.errors import UnavailableError
from hms_nomad.clients.nomad_acl import AclCalls
from hms_nomad.clients.nomad_calls import absent, rows
from hms_nomad.clients.nomad_events import EventReader
from hms_nomad.clients.nomad_exec import Resized, TaskCommand, Typed, run_in_task
from hms_nomad.clients.nomad_jobs import JobCalls
from hms_nomad.clients.nomad_log_places import Place, PlacedLine, PlacedReader
from hms_nomad.clients.nomad_logs import LogReader
from hms_nomad.clients.nomad_news import JobNews
from hms_nomad.clients.nomad_parse import parse_agent, parse_node, parse_token
from hms_nomad.clients.nomad_rollouts import RolloutCalls
from hms_nomad.clients.nomad_scaling import ScalingCalls
from hms_nomad.clients.nomad_types import Event, Namespace, Node, NomadAgent, NomadToken

_ACLS_OFF = "acls-disabled"


class NomadClient(JobCalls, ScalingCalls, RolloutCalls, AclCalls):
    """Typed calls on one namespace of a Nomad cluster over python-nomad. Threads may share a client."""

    @cached_property
    def news(self) -> JobNews:
        """What happens to jobs, for all who follow some through this client: one stream serves all of them."""
        return JobNews(self.events)

    def leader(self) -> str | None:
        """Address of the cluster's leader, or None when the servers answer that there is none.

        API: https://developer.hashicorp.com/nomad/api-docs/status#read-leader
        """
        try:
            return self._read("find the leader", self._status.leader.get_leader, _text, retry=False) or None
        except UnavailableError as error:
            if error.status == 500:
                return None
            raise

    def version(self) -> str:
        """Version of the agent that answers, such as "2.0.5".

        API: https://developer.hashicorp.com/nomad/api-docs/agent#query-self
        """
        return self._read("read the agent's version", self._agent.get_agent, _agent_version)

    def agent(self) -> NomadAgent:
        """The agent that answers, and what of its configuration decides whether services work on it.

        API: https://developer.hashicorp.com/nomad/api-docs/agent#query-self
        """
        return self._read("read the agent's configuration", self._agent.get_agent, parse_agent)

    def clock(self) -> float:
        """What the agent's clock shows, in seconds since 1970, to the second (the Date of any answer).

        API: https://developer.hashicorp.com/nomad/api-docs/status#read-leader
        """
        return self._transport.clock("/v1/status/leader")

    def own_token(self) -> NomadToken | None:
        """The token that this client sends (the anonymous one when it has none), or None where ACLs are switched off.

        Raises DeniedError when Nomad does not know the token.
        API: https://developer.hashicorp.com/nomad/api-docs/acl/tokens#read-self-token
        """
        token = self._read("read its own token", self._acl.get_self_token, parse_token)
        return None if token.accessor_id == _ACLS_OFF else token

    def list_namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces that the token may read, of the whole cluster.

        API: https://developer.hashicorp.com/nomad/api-docs/namespaces#list-namespaces
        """
        return self._read(
            "list namespaces",
            self._namespaces.get_namespaces,
            rows(lambda row: Namespace(row["Name"], row.get("Description") or "", row.get("Meta") or {})),
        )

    def list_nodes(self) -> tuple[Node, ...]:
        """All nodes, whatever their status, each with all its attributes (one call a node).

        API: https://developer.hashicorp.com/nomad/api-docs/nodes#list-nodes
        """
        nodes = self._read("list nodes", self._nodes.get_nodes, rows(parse_node))
        found = (absent(partial(self.read_node, node.id)) for node in nodes)
        return tuple(node for node in found if node is not None)

    def ready_nodes(self) -> tuple[Node, ...]:
        """The nodes whose status is ready, each with all its attributes (one call a node).

        API: https://developer.hashicorp.com/nomad/api-docs/nodes#list-nodes
        """
        nodes = self._read("list nodes", self._nodes.get_nodes, rows(parse_node))
        # One that was purged since the list was made is left out.
        found = (absent(partial(self.read_node, node.id)) for node in nodes if node.status == "ready")
        return tuple(node for node in found if node is not None)

    def read_node(self, node_id: str) -> Node:
        """One node with all its attributes. Raises NotFoundError.

        API: https://developer.hashicorp.com/nomad/api-docs/nodes#read-node
        """
        operation = f"read node {node_id[:8]}"
        segment = self._segment(operation, node_id)
        return self._read(operation, lambda: self._node.get_node(segment), parse_node)

    def events(
        self,
        topics: Mapping[str, Sequence[str]],
        index: int = 0,
        deadline: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Iterator[Event]:
        """Events of ``topics`` (topic to keys, "*" for all) from raft index ``index`` on, each once, without end.

        A broken stream is taken up again after the last index. Nomad keeps few old events, so read the state again
        after each. ``deadline`` is a value of ``time.monotonic()``: when it passes, DeadlineExceededError is raised.
        Without one, UnavailableError is raised when the servers stay away for ``Connection.retry_seconds``. ``wanted``
        is asked at each event, and every 10 seconds without any: the events end when they are not wanted any more.
        API: https://developer.hashicorp.com/nomad/api-docs/events
        """
        reader = EventReader(
            self._transport,
            self._event.stream,
            topics,
            index=index,
            deadline=deadline,
            wanted=wanted,
            check_rights=lambda: self._read("follow events", self._list_one_job, rows(lambda row: row), retry=False),
        )
        return reader.read()

    def logs(
        self,
        alloc_id: str,
        task: str,
        kind: str = "stdout",
        tail_lines: int | None = None,
        *,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[str]:
        """Lines of a task's output, without their line ends and with control characters as they were written.

        ``kind`` is stdout or stderr; ``tail_lines`` starts that many lines before the end (None: at the beginning).
        With ``follow`` new lines come until the task is dead or ``stop`` is set. Raises NotFoundError for an unknown
        allocation or a task that has not started, UnavailableError when the stream breaks.
        API: https://developer.hashicorp.com/nomad/api-docs/client#stream-logs
        """
        reader = LogReader(self._transport, self._client.stream_logs, self._segment("read logs", alloc_id), task, kind)
        if follow:
            return reader.follow(tail_lines, stop or threading.Event(), lambda: self._task_is_dead(alloc_id, task))
        return reader.read(tail_lines)

    def placed_logs(
        self, alloc_id: str, task: str, after: Place | None, stop: threading.Event, is_over: Callable[[], bool]
    ) -> Iterator[PlacedLine]:
        """Lines of a task's stdout, each with the place behind it, from ``after`` on (None: all that Nomad keeps).

        What was deleted in between is told as lost. Ends when ``is_over`` says in a silence that it may, or when
        ``stop`` is set. Raises NotFoundError for an unknown allocation or a task that has not started,
        UnavailableError when the stream breaks.
        API: https://developer.hashicorp.com/nomad/api-docs/client#stream-logs
        """
        segment = self._segment("read logs", alloc_id)
        return PlacedReader(self._transport, self._client.stream_logs, segment, task).follow(after, stop, is_over)

    def run_in_task(
        self, command: TaskCommand, incoming: Iterable[Typed | Resized], wrote: Callable[[str, bytes], None]
    ) -> int:
        """Run a command in a running task; answers its exit code.

        ``incoming`` is what is typed, read by a thread of its own; ``wrote`` hears of each piece of "stdout" or
        "stderr", as bytes. Raises NotFoundError for an unknown allocation or a task that has not started, DeniedError,
        InvalidRequestError where there is no such program, UnknownOutcomeError where the connection ends before the
        command does.
        API: https://developer.hashicorp.com/nomad/api-docs/client#exec-allocation (WebSocket)
        """
        path = f"/v1/client/allocation/{self._segment(command.operation, command.allocation)}/exec"
        return run_in_task(self._transport, path, self._params, command, incoming, wrote)

    def _list_one_job(self) -> Any:
        return self._jobs.request(method="get", params={"per_page": "1"}).json()

    def _task_is_dead(self, alloc_id: str, task: str) -> bool:
        allocation = self.read_allocation(alloc_id)
        state = allocation.tasks.get(task)
        return allocation.done or (state is not None and state.state == "dead")


def _text(body: Any) -> str:
    if not isinstance(body, str):
        raise TypeError("a text was expected")
    return body


def _agent_version(body: Any) -> str:
    version = body["config"]["Version"]
    return str(version["Version"] if isinstance(version, dict) else version)
