"""Config entries and intentions of a real Consul: who wins a compare-and-set, and what an answer means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import StoredEntry
from hms_nomad.clients.errors import ConflictError, InvalidRequestError
from hms_nomad.clients.snapshot import Snapshot
from hms_nomad.compile import compile_spec
from hms_nomad.compile.gateway import gateway_entry, standing_entries
from hms_nomad.plan.mesh_policy import chain_parts, policy
from hms_nomad.plan.normal import entry_differences
from hms_nomad.platform.model import Platform
from hms_nomad.sections.reading import read
from hms_nomad.spec.model import Spec
from tests.contract.consul_server import Consul
from tests.waiting import eventually


@pytest.fixture
def client(consul: Consul) -> Iterator[ConsulClient]:
    client = consul.client()
    yield client
    client.close()


def _defaults(name: str, protocol: str = "http", **fields: object) -> dict[str, object]:
    return {"Kind": "service-defaults", "Name": name, "Protocol": protocol, **fields}


def _written(client: ConsulClient, body: Mapping[str, object], modify_index: int) -> StoredEntry:
    client.write_entry(body, modify_index)
    stored = client.read_entry(str(body["Kind"]), str(body["Name"]))
    assert stored is not None
    return stored


@pytest.mark.contract("ConsulClient.read_entry", "ConsulClient.write_entry")
def test_an_entry_is_read_as_it_was_written(client: ConsulClient) -> None:
    client.write_entry(_defaults("as-written", Meta={"managed-by": "hms-nomad"}), modify_index=0)
    stored = client.read_entry("service-defaults", "as-written")

    assert stored is not None
    assert (stored.kind, stored.name) == ("service-defaults", "as-written")
    assert stored.body["Protocol"] == "http"
    assert stored.body["Meta"] == {"managed-by": "hms-nomad"}
    assert stored.modify_index > 0
    assert not {"CreateIndex", "ModifyIndex", "Hash"} & set(stored.body)


@pytest.mark.contract("ConsulClient.read_entry")
def test_an_entry_that_is_not_there_is_none(client: ConsulClient) -> None:
    assert client.read_entry("service-resolver", "nobody") is None


@pytest.mark.contract("ConsulClient.write_entry")
def test_index_0_creates_and_never_overwrites(client: ConsulClient) -> None:
    client.write_entry(_defaults("create-only"), modify_index=0)

    with pytest.raises(ConflictError):
        client.write_entry(_defaults("create-only", "tcp"), modify_index=0)

    stored = client.read_entry("service-defaults", "create-only")
    assert stored is not None
    assert stored.body["Protocol"] == "http"


@pytest.mark.contract("ConsulClient.write_entry")
def test_a_stale_index_loses(client: ConsulClient) -> None:
    first = _written(client, _defaults("stale"), modify_index=0)
    second = _written(client, _defaults("stale", "http2"), modify_index=first.modify_index)

    with pytest.raises(ConflictError, match="service-defaults stale"):
        client.write_entry(_defaults("stale", "tcp"), modify_index=first.modify_index)

    assert client.read_entry("service-defaults", "stale") == second


@pytest.mark.contract("ConsulClient.write_entry")
def test_an_index_of_an_entry_that_is_gone_loses(client: ConsulClient) -> None:
    first = _written(client, _defaults("gone"), modify_index=0)
    client.delete_entry("service-defaults", "gone", first.modify_index)

    with pytest.raises(ConflictError):
        client.write_entry(_defaults("gone", "tcp"), modify_index=first.modify_index)


@pytest.mark.contract("ConsulClient.write_entry")
def test_what_is_stored_already_is_written_with_any_index(client: ConsulClient) -> None:
    first = _written(client, _defaults("same", Meta={"by": "us"}), modify_index=0)

    for index in (0, first.modify_index - 1):
        client.write_entry(_defaults("same", Meta={"by": "us"}), modify_index=index)
        assert client.read_entry("service-defaults", "same") == first
    # What says the same about traffic is another's all the same when its meta says so.
    with pytest.raises(ConflictError):
        client.write_entry(_defaults("same", Meta={"by": "others"}), modify_index=first.modify_index - 1)


@pytest.mark.contract("ConsulClient.write_entry")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"Kind": "no-such-kind", "Name": "x"}, "kind"),
        ({"Kind": "service-splitter", "Name": "lone", "Splits": [{"Weight": 100}]}, "protocol"),
        ({"Kind": "service-resolver", "Name": "web", "NoSuchField": 1}, "NoSuchField"),
    ],
    ids=["unknown kind", "protocol is tcp", "unknown field"],
)
def test_what_consul_refuses_is_an_invalid_request(client: ConsulClient, body: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"(?i){reason}"):
        client.write_entry(body, modify_index=0)


@pytest.mark.contract("ConsulClient.delete_entry")
def test_an_entry_is_deleted_only_with_its_index(client: ConsulClient) -> None:
    first = _written(client, _defaults("doomed"), modify_index=0)
    second = _written(client, _defaults("doomed", "tcp"), modify_index=first.modify_index)

    with pytest.raises(ConflictError):
        client.delete_entry("service-defaults", "doomed", first.modify_index)
    client.delete_entry("service-defaults", "doomed", second.modify_index)

    assert client.read_entry("service-defaults", "doomed") is None
    client.delete_entry("service-defaults", "doomed", second.modify_index)


@pytest.mark.contract("ConsulClient.delete_entry")
def test_an_entry_that_others_need_is_not_deleted(client: ConsulClient) -> None:
    needed = _written(client, _defaults("needed"), modify_index=0)
    splitter = {"Kind": "service-splitter", "Name": "needed", "Splits": [{"Weight": 100}]}
    client.write_entry(splitter, modify_index=0)

    with pytest.raises(InvalidRequestError):
        client.delete_entry("service-defaults", "needed", needed.modify_index)


@pytest.mark.contract("ConsulClient.list_entries")
def test_entries_are_listed_by_kind(client: ConsulClient) -> None:
    stored = _written(client, _defaults("listed"), modify_index=0)

    assert stored in client.list_entries("service-defaults")
    assert client.list_entries("terminating-gateway") == ()


@pytest.mark.contract("ConsulClient.watch_entry")
def test_a_watch_waits_until_the_entry_is_made_changed_and_gone(client: ConsulClient) -> None:
    def watch(index: int) -> tuple[threading.Thread, list[object]]:
        seen: list[object] = []
        thread = threading.Thread(
            target=lambda: seen.append(client.watch_entry("service-defaults", "watched", index, wait=60))
        )
        thread.start()
        return thread, seen

    absent = client.watch_entry("service-defaults", "watched")
    assert absent.value is None

    made, seen = watch(absent.index)
    first = _written(client, _defaults("watched"), modify_index=0)
    made.join(60)
    assert [snapshot.value for snapshot in seen] == [first]  # type: ignore[attr-defined]

    present = client.watch_entry("service-defaults", "watched")
    gone, seen = watch(present.index)
    client.delete_entry("service-defaults", "watched", first.modify_index)
    gone.join(60)
    assert [snapshot.value for snapshot in seen] == [None]  # type: ignore[attr-defined]


@pytest.mark.contract("ConsulClient.watch_entry")
def test_a_watch_without_news_ends_with_what_there_is(client: ConsulClient) -> None:
    stored = _written(client, _defaults("quiet"), modify_index=0)
    present = client.watch_entry("service-defaults", "quiet")

    again = client.watch_entry("service-defaults", "quiet", present.index, wait=0.2)

    assert again.value == stored


@pytest.mark.contract("ConsulClient.watch_entries")
def test_a_watch_of_a_kind_ends_when_one_of_it_is_made_changed_or_gone(client: ConsulClient) -> None:
    def news(index: int, change: Callable[[], object]) -> Snapshot[tuple[StoredEntry, ...]]:
        seen: list[Snapshot[tuple[StoredEntry, ...]]] = []
        thread = threading.Thread(target=lambda: seen.append(client.watch_entries("service-router", index, wait=60)))
        thread.start()
        change()
        thread.join(60)
        return seen[0]

    def stored(snapshot: Snapshot[tuple[StoredEntry, ...]]) -> dict[str, StoredEntry]:
        return {entry.name: entry for entry in snapshot.value}

    client.write_entry(_defaults("kind-watched"), modify_index=0)
    route = {"Match": {"HTTP": {"PathPrefix": "/a"}}}
    router = {"Kind": "service-router", "Name": "kind-watched", "Routes": [route]}
    none = client.watch_entries("service-router")
    assert "kind-watched" not in stored(none)
    made = news(none.index, lambda: client.write_entry(router, modify_index=0))
    first = stored(made)["kind-watched"]
    changed = news(made.index, lambda: client.write_entry({**router, "Meta": {"a": "b"}}, first.modify_index))
    second = stored(changed)["kind-watched"]
    assert second.body["Meta"] == {"a": "b"}
    quiet = client.watch_entries("service-router", changed.index, wait=0.2)
    assert (quiet.index, stored(quiet)) == (changed.index, stored(changed))
    gone = news(changed.index, lambda: client.delete_entry("service-router", "kind-watched", second.modify_index))
    assert "kind-watched" not in stored(gone)


@pytest.mark.contract("ConsulClient.check_intention", "ConsulClient.read_intention")
def test_intentions_are_read_and_checked(client: ConsulClient) -> None:
    sources = [
        {"Name": "friend", "Action": "allow", "Description": "may call"},
        {"Name": "stranger", "Action": "deny"},
    ]
    client.write_entry({"Kind": "service-intentions", "Name": "asked", "Sources": sources}, modify_index=0)

    allowed = client.read_intention("friend", "asked")
    assert allowed is not None
    assert (allowed.source, allowed.destination) == ("friend", "asked")
    assert (allowed.action, allowed.description) == ("allow", "may call")
    assert allowed.permissions == ()
    assert allowed.precedence > 0
    assert allowed.modify_index > 0
    assert client.read_intention("nobody", "asked") is None
    assert client.check_intention("friend", "asked")
    assert not client.check_intention("stranger", "asked")


@pytest.mark.contract("ConsulClient.check_intention", "ConsulClient.read_intention")
def test_an_intention_by_path_has_permissions_and_counts_as_denied(client: ConsulClient) -> None:
    client.write_entry(_defaults("by-path"), modify_index=0)
    permission = {"Action": "allow", "HTTP": {"PathExact": "/receipt", "Methods": ["POST"]}}
    sources = [{"Name": "caller", "Permissions": [permission]}]
    client.write_entry({"Kind": "service-intentions", "Name": "by-path", "Sources": sources}, modify_index=0)

    found = client.read_intention("caller", "by-path")

    assert found is not None
    assert found.action == ""
    assert found.permissions[0]["HTTP"]["PathExact"] == "/receipt"
    assert not client.check_intention("caller", "by-path")


@pytest.mark.contract("ConsulClient.discovery_chain")
def test_the_discovery_chain_shows_protocol_and_splits(client: ConsulClient) -> None:
    client.write_entry(_defaults("chained"), modify_index=0)
    subsets = {"a": {"Filter": 'Service.Meta.release == "a"'}, "b": {"Filter": 'Service.Meta.release == "b"'}}
    client.write_entry({"Kind": "service-resolver", "Name": "chained", "Subsets": subsets}, modify_index=0)
    splits = [{"Weight": 99, "ServiceSubset": "a"}, {"Weight": 1, "ServiceSubset": "b"}]
    client.write_entry({"Kind": "service-splitter", "Name": "chained", "Splits": splits}, modify_index=0)

    chain = client.discovery_chain("chained")

    assert chain["Protocol"] == "http"
    weights = [split["Weight"] for node in chain["Nodes"].values() for split in node.get("Splits") or ()]
    assert sorted(weights) == [1, 99]
    assert len(chain["Targets"]) == 2


@pytest.mark.contract("ConsulClient.discovery_chain")
def test_the_discovery_chain_holds_routes_and_times_as_they_were_written(client: ConsulClient) -> None:
    client.write_entry(_defaults("explained"), modify_index=0)
    resolver = {"Kind": "service-resolver", "Name": "explained", "ConnectTimeout": "1500ms"}
    client.write_entry({**resolver, "LoadBalancer": {"Policy": "least_request"}}, modify_index=0)
    match = {"HTTP": {"PathExact": "/a", "Methods": ["GET"]}}
    destination = {"RequestTimeout": "20000ms", "NumRetries": 3, "RetryOn": ["reset"]}
    router = {"Kind": "service-router", "Name": "explained", "Routes": [{"Match": match, "Destination": destination}]}
    client.write_entry(router, modify_index=0)

    resolver_found, routes = chain_parts(client.discovery_chain("explained"))

    found = {one.name: one.value for one in policy(_defaults("explained"), resolver_found, routes)}
    assert found == {
        "protocol": "http",
        "connect timeout": "1500ms",
        "load balancing": "least_request",
        "connections of an instance": "no limit",
        "GET /a: timeout": "20s",
        "GET /a: retries": "3 on reset",
    }


@pytest.mark.contract("ConsulClient.discovery_chain")
def test_a_service_that_nobody_knows_has_a_default_chain(client: ConsulClient) -> None:
    chain = client.discovery_chain("never-heard-of")

    assert chain["Protocol"] == "tcp"
    assert chain["Default"] is True


@pytest.mark.contract("ConsulClient.list_entries", "ConsulClient.write_entry")
def test_the_routes_of_a_service_are_stored_as_they_are_compiled_and_each_is_bound(client: ConsulClient) -> None:
    public = [
        {"path": "/receipt", "methods": ["GET", "POST"], "match": "exact", "public": True},
        {"path": "/receipt", "public": True, "timeout": "3s", "rewrite": "/all"},
    ]
    fields = {"name": "routed", "version": "1", "image": "i", "port": 80, "routes": public}
    platform = Platform()
    assert platform.gateway is not None
    desired = compile_spec(read(Spec, fields), platform)
    for entry in (gateway_entry(platform.gateway), *standing_entries(platform.gateway), *desired.entries):
        client.write_entry(entry.body, modify_index=0)
    routes = [entry for entry in desired.entries if entry.kind == "http-route"]
    for entry in routes:
        stored = eventually(partial(_bound, client, entry.name))
        assert stored is not None
        assert entry_differences(stored.body, entry.body) == ()
        # Consul 1.20.1 may end when there is more: it watches a set of names that it goes on filling.
        assert [len(rule["Services"]) for rule in stored.body["Rules"]] == [1]
    assert {entry.name for entry in client.list_entries("http-route")} >= {entry.name for entry in routes}


def _bound(client: ConsulClient, name: str) -> StoredEntry | None:
    stored = client.watch_entry("http-route", name).value
    return stored if stored and any(one.type == "Bound" and one.true for one in stored.conditions) else None
