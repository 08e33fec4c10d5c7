"""Services, health, keys, sessions and certificates of a real Consul."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from hms_nomad.apply.authority import Servers, renew_root
from hms_nomad.clients.certificates import read_pem
from hms_nomad.clients.connection import Connection
from hms_nomad.clients.consul import ConsulClient
from hms_nomad.clients.consul_types import (
    ExternalService,
    Instance,
    drop_key,
    drop_lock,
    list_keys,
    set_key,
    swap_key,
    take_lock,
)
from hms_nomad.clients.errors import DeniedError, InvalidRequestError, NotFoundError
from hms_nomad.clients.nomad import NomadClient
from hms_nomad.clients.snapshot import Snapshot
from tests.contract.consul_server import Consul
from tests.waiting import eventually


@pytest.fixture
def client(consul: Consul) -> Iterator[ConsulClient]:
    client = consul.client()
    yield client
    client.close()


def _register(consul: Consul, name: str, number: int = 1, **fields: object) -> None:
    body = {"ID": f"{name}-{number}", "Name": name, "Port": 8000 + number, **fields}
    consul.http("PUT", "/v1/agent/service/register", body)


@pytest.mark.contract("ConsulClient.leader")
def test_the_leader_has_an_address(client: ConsulClient) -> None:
    leader = client.leader()

    assert leader is not None
    assert leader.rpartition(":")[2].isdigit()


@pytest.mark.contract("ConsulClient.agent")
def test_the_agent_says_what_it_is_and_which_envoys_it_knows(client: ConsulClient) -> None:
    agent = client.agent()

    assert agent.version.count(".") == 2
    assert agent.datacenter == "dc1"
    assert agent.node
    assert all(version.count(".") == 2 for version in agent.supported_envoy)
    assert agent.supported_envoy
    assert agent.grpc_port > 0


@pytest.mark.contract("ConsulClient.instances", "ConsulClient.services")
def test_a_registered_instance_is_found(consul: Consul, client: ConsulClient) -> None:
    _register(consul, "found", Tags=["a", "b"], Meta={"release": "r1"}, Address="127.0.0.9")

    (instance,) = client.instances("found").value
    assert (instance.id, instance.service, instance.address, instance.port) == ("found-1", "found", "127.0.0.9", 8001)
    assert instance.meta["release"] == "r1"
    assert instance.tags == ("a", "b")
    assert instance.status == "passing"
    assert instance.checks[0].id == "serfHealth"
    assert client.services().value["found"] == ("a", "b")
    assert client.instances("never-registered").value == ()


@pytest.mark.contract("ConsulClient.calling_sidecars")
def test_a_sidecar_shows_how_it_calls_others_and_what_config_entries_add(consul: Consul, client: ConsulClient) -> None:
    limits = {"Overrides": [{"Name": "callee", "Limits": {"MaxConnections": 7}}]}
    client.write_entry({"Kind": "service-defaults", "Name": "caller", "UpstreamConfig": limits}, modify_index=0)
    passive = {"interval": 1_000_000_000, "max_failures": 3}
    upstream = {"DestinationName": "callee", "LocalBindPort": 9191, "Config": {"passive_health_check": passive}}
    _register(consul, "caller", Connect={"SidecarService": {"Proxy": {"Upstreams": [upstream]}}})

    (sidecar,) = eventually(lambda: client.calling_sidecars("caller"))
    assert sidecar.instance.service == "caller-sidecar-proxy"
    config = sidecar.upstreams["callee"]
    assert config["passive_health_check"]["max_failures"] == 3
    assert config["limits"]["MaxConnections"] == 7
    assert client.calling_sidecars("never-registered") == ()


@pytest.mark.contract("ConsulClient.instances", "ConsulClient.health_checks")
def test_an_instance_is_as_ill_as_its_worst_check(consul: Consul, client: ConsulClient) -> None:
    checks = [
        {"CheckID": "ill:good", "Name": "good", "TTL": "1h", "Status": "passing"},
        {"CheckID": "ill:bad", "Name": "bad", "TTL": "1h", "Status": "passing"},
    ]
    _register(consul, "ill", Checks=checks)
    consul.http("PUT", "/v1/agent/check/update/ill:bad", {"Status": "critical", "Output": "it hurts"})

    def seen() -> dict[str, str]:
        return {check.id: check.output for check in client.health_checks("ill").value}

    # The agent passes what it knows on to the catalog in its own time.
    assert eventually(seen, lambda outputs: outputs.get("ill:bad") == "it hurts") == {
        "ill:good": "",
        "ill:bad": "it hurts",
    }
    (instance,) = client.instances("ill").value
    assert instance.status == "critical"
    assert client.instances("ill", passing=True).value == ()
    bad = next(check for check in client.health_checks("ill").value if check.id == "ill:bad")
    assert (bad.name, bad.status, bad.service_id) == ("bad", "critical", "ill-1")
    assert bad.node == instance.node


@pytest.mark.contract("ConsulClient.watch_checks", "ConsulClient.services")
def test_news_of_any_instance_end_a_wait(consul: Consul, client: ConsulClient) -> None:
    """A changed health is seen by who waits for checks, a changed meta by who waits for services."""
    checks = [{"CheckID": "moving:it", "Name": "it", "TTL": "1h", "Status": "passing"}]
    _register(consul, "moving", Checks=checks, Meta={"release": "r1"})

    def followed(ask: Callable[[int, float], Snapshot[object]], good: Callable[[], bool]) -> None:
        """Wait for news until it is ``good``; without news the test runs out of time."""
        index = ask(0, 0.0).index
        while not good():
            index = ask(index, 280.0).index

    def moving() -> Instance:
        return client.instances("moving").value[0]

    followed(client.watch_checks, lambda: moving().status == "passing")
    consul.http("PUT", "/v1/agent/check/update/moving:it", {"Status": "critical", "Output": "it hurts"})
    followed(client.watch_checks, lambda: moving().status == "critical")
    _register(consul, "moving", Checks=checks, Meta={"release": "r2"})
    followed(client.services, lambda: moving().meta["release"] == "r2")
    assert "moving:it" in {check.id for check in client.watch_checks().value}


@pytest.mark.contract("ConsulClient.instances")
def test_callers_in_the_mesh_reach_the_sidecar(consul: Consul, client: ConsulClient) -> None:
    _register(consul, "meshed", Connect={"SidecarService": {"Port": 21999}})

    found = client.instances("meshed", connect=True).value

    assert [(instance.service, instance.port) for instance in found] == [("meshed-sidecar-proxy", 21999)]


@pytest.mark.contract("ConsulClient.instances", "ConsulClient.services", "ConsulClient.health_checks")
@pytest.mark.parametrize("question", ["instances", "services", "health_checks"])
def test_a_question_with_an_index_waits_for_news(consul: Consul, client: ConsulClient, question: str) -> None:
    name = f"awaited-by-{question}".replace("_", "-")

    def ask(index: int) -> object:
        if question == "instances":
            return client.instances(name, index=index, wait=60)
        if question == "services":
            return client.services(index=index, wait=60)
        return client.health_checks(name, index=index, wait=60)

    before = ask(0)
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(before.index)))  # type: ignore[attr-defined]
    waiting.start()
    _register(consul, name, Check={"TTL": "1h", "Status": "passing"})
    waiting.join(60)

    (after,) = answers
    assert after.index > before.index  # type: ignore[attr-defined]
    assert after.value != before.value  # type: ignore[attr-defined]


@pytest.mark.contract("ConsulClient.instances")
def test_a_question_without_news_ends_after_the_wait(client: ConsulClient) -> None:
    before = client.instances("nothing-new")

    after = client.instances("nothing-new", index=before.index, wait=0.2)

    assert after.value == ()
    assert after.index > 0


@pytest.mark.contract("ConsulClient.catalog_register", "ConsulClient.catalog_deregister")
def test_an_external_service_comes_and_goes(client: ConsulClient) -> None:
    database = ExternalService("db-host", "10.1.2.3", "db-1", "db", 5432, ("primary",), {"owner": "tax-team"})
    client.catalog_register(database)
    client.catalog_register(ExternalService("db-host", "10.1.2.3", "db-2", "db", 5433))

    first, second = sorted(client.instances("db", passing=True).value, key=lambda instance: instance.id)
    assert (first.node, first.address, first.port) == ("db-host", "10.1.2.3", 5432)
    assert (first.tags, first.meta, first.status) == (("primary",), {"owner": "tax-team"}, "passing")
    assert second.id == "db-2"

    client.catalog_deregister("db-host", "db-1")
    assert [instance.id for instance in client.instances("db").value] == ["db-2"]
    client.catalog_deregister("db-host")
    assert client.instances("db").value == ()
    client.catalog_deregister("db-host")


@pytest.mark.contract("ConsulClient.kv_get", "ConsulClient.kv_put", "ConsulClient.kv_delete")
def test_a_key_is_created_once_and_changed_only_with_its_index(client: ConsulClient) -> None:
    assert client.kv_get("hms/one") is None
    assert client.kv_put("hms/one", b"\x00\xffbytes", modify_index=0)
    assert not client.kv_put("hms/one", b"other", modify_index=0)

    stored = client.kv_get("hms/one")
    assert stored is not None
    assert (stored.key, stored.value, stored.session) == ("hms/one", b"\x00\xffbytes", "")
    assert client.kv_put("hms/one", b"", modify_index=stored.modify_index)
    assert not client.kv_put("hms/one", b"late", modify_index=stored.modify_index)
    assert not client.kv_delete("hms/one", stored.modify_index)

    emptied = client.kv_get("hms/one")
    assert emptied is not None
    assert emptied.value == b""
    assert client.kv_delete("hms/one", emptied.modify_index)
    assert client.kv_get("hms/one") is None


@pytest.mark.contract("ConsulClient.kv_put")
def test_a_key_without_an_index_is_written_in_any_case(client: ConsulClient) -> None:
    assert client.kv_put("hms/any", b"1")
    assert client.kv_put("hms/any", b"2")


@pytest.mark.contract("ConsulClient.kv_wait")
def test_waiting_for_a_key_ends_when_it_is_made_changed_and_gone(client: ConsulClient) -> None:
    def wait(index: int) -> tuple[threading.Thread, list[Snapshot[bool]]]:
        seen: list[Snapshot[bool]] = []
        thread = threading.Thread(target=lambda: seen.append(client.kv_wait("hms/awaited", index, wait=60)))
        thread.start()
        return thread, seen

    def index() -> int:
        return client.kv_wait("hms/awaited", 0, wait=0).index

    assert client.kv_wait("hms/awaited", 0, wait=60).value is False
    for there, change in (
        (True, lambda: client.kv_put("hms/awaited", b"1")),
        (True, lambda: client.kv_put("hms/awaited", b"2")),
        (False, lambda: client.kv_delete("hms/awaited", client.kv_get("hms/awaited").modify_index)),  # type: ignore[union-attr]
    ):
        thread, seen = wait(index())
        change()
        thread.join(60)
        assert [snapshot.value for snapshot in seen] == [there]


@pytest.mark.contract("ConsulClient.kv_wait")
def test_waiting_for_a_key_without_news_ends_with_what_there_is(client: ConsulClient) -> None:
    absent = client.kv_wait("hms/quiet", 0, wait=0)

    assert client.kv_wait("hms/quiet", absent.index, wait=0.2).value is False


@pytest.mark.contract("ConsulClient.kv_list")
def test_keys_are_listed_by_prefix(client: ConsulClient) -> None:
    for key in ("hms/list/a", "hms/list/b?c#d %", "hms/listed"):
        client.kv_put(key, key.encode())

    assert {pair.key: pair.value for pair in client.kv_list("hms/list/")} == {
        "hms/list/a": b"hms/list/a",
        "hms/list/b?c#d %": b"hms/list/b?c#d %",
    }
    assert client.kv_list("hms/nothing/here") == ()


@pytest.mark.contract("ConsulClient.kv_get", "ConsulClient.kv_list")
@pytest.mark.parametrize("key", ["/leading", "a//b", "../up", ""])
def test_keys_that_cannot_stand_in_a_path_are_refused(client: ConsulClient, key: str) -> None:
    with pytest.raises(InvalidRequestError):
        client.kv_get(key)
    if key:
        with pytest.raises(InvalidRequestError):
            client.kv_list(key)


@pytest.mark.contract(
    "ConsulClient.create_session",
    "ConsulClient.renew_session",
    "ConsulClient.session_info",
    "ConsulClient.destroy_session",
)
def test_a_session_lives_until_it_is_ended(client: ConsulClient) -> None:
    session = client.create_session("deploy of web", ttl_seconds=30, lock_delay_seconds=0)

    info = client.session_info(session)
    assert info is not None
    assert (info.id, info.name, info.behavior) == (session, "deploy of web", "release")
    assert (info.ttl_seconds, info.lock_delay_seconds) == (30.0, 0.0)
    assert client.renew_session(session) == info

    client.destroy_session(session)
    assert client.session_info(session) is None
    with pytest.raises(NotFoundError):
        client.renew_session(session)
    client.destroy_session(session)


@pytest.mark.contract("ConsulClient.session_info")
def test_sessions_of_other_tools_are_understood(consul: Consul, client: ConsulClient) -> None:
    made = consul.http("PUT", "/v1/session/create", {"Name": "other", "TTL": "1m30s", "LockDelay": "15s"})

    info = client.session_info(made["ID"])

    assert info is not None
    assert (info.ttl_seconds, info.lock_delay_seconds) == (90.0, 15.0)


@pytest.mark.contract("ConsulClient.create_session")
def test_a_session_outside_the_bounds_is_refused(client: ConsulClient) -> None:
    with pytest.raises(InvalidRequestError, match="TTL"):
        client.create_session("too short", ttl_seconds=1, lock_delay_seconds=0)


@pytest.mark.contract("ConsulClient.kv_put", "ConsulClient.kv_get", "ConsulClient.create_session")
def test_one_session_holds_a_lock_at_a_time(client: ConsulClient) -> None:
    mine = client.create_session("mine", 30, lock_delay_seconds=0)
    theirs = client.create_session("theirs", 30, lock_delay_seconds=0, behavior="delete")

    assert client.kv_put("hms/lock", b"mine", acquire=mine)
    assert not client.kv_put("hms/lock", b"theirs", acquire=theirs)
    held = client.kv_get("hms/lock")
    assert held is not None
    assert held.session == mine
    assert client.kv_put("hms/lock", b"", release=mine)
    assert client.kv_put("hms/lock", b"theirs", acquire=theirs)

    client.destroy_session(theirs)
    assert client.kv_get("hms/lock") is None


@pytest.mark.contract("ConsulClient.kv_transact", "ConsulClient.kv_get", "ConsulClient.kv_list")
def test_a_transaction_writes_all_its_keys_or_none(client: ConsulClient) -> None:
    made = client.kv_transact("note two", (swap_key("hms/txn/a", b"\x00\xff", 0), set_key("hms/txn/b", b"2")))
    assert made.done
    stored = client.kv_get("hms/txn/a")
    assert stored is not None
    assert (stored.value, stored.modify_index) == (b"\x00\xff", made.index_of("hms/txn/a"))

    late = client.kv_transact("note again", (set_key("hms/txn/b", b"3"), swap_key("hms/txn/a", b"late", 0)))
    assert (late.done, late.refused, late.pairs) == (False, (1,), ())
    assert [pair.value for pair in client.kv_list("hms/txn/")] == [b"\x00\xff", b"2"]

    assert client.kv_transact("forget", (drop_key("hms/txn/a", 1), drop_key("hms/txn/none", 1))).refused == (0,)
    gone = client.kv_transact("forget", (drop_key("hms/txn/a", stored.modify_index), drop_key("hms/txn/none", 1)))
    assert gone.done
    assert client.kv_get("hms/txn/a") is None


@pytest.mark.contract("ConsulClient.kv_transact", "ConsulClient.create_session", "ConsulClient.destroy_session")
def test_a_transaction_takes_a_lock_and_reads_at_that_moment(client: ConsulClient) -> None:
    mine, theirs = (client.create_session(name, 30, lock_delay_seconds=0, behavior="delete") for name in "ab")
    client.kv_put("hms/beside/1", b"kept")
    key, reading = "hms/txn-lock", list_keys("hms/beside/")

    taken = client.kv_transact("lock", (take_lock(key, b"mine", mine), reading, list_keys("hms/nothing/")))
    assert taken.done
    assert [(pair.key, pair.value) for pair in taken.pairs if pair.key != key] == [("hms/beside/1", b"kept")]
    assert client.kv_transact("lock again", (take_lock(key, b"mine", mine),)).done
    assert client.kv_transact("lock", (take_lock(key, b"theirs", theirs), reading)).refused == (0,)
    assert client.kv_transact("unlock", drop_lock(key, theirs)).refused == (0,)
    assert client.kv_transact("unlock", drop_lock(key, mine)).done
    assert client.kv_get(key) is None
    assert client.kv_transact("unlock", drop_lock(key, mine)).refused == (0,)

    client.destroy_session(mine)
    assert client.kv_transact("lock", (take_lock(key, b"mine", mine),)).refused == (0,)
    client.destroy_session(theirs)


@pytest.mark.contract("ConsulClient.kv_transact")
def test_a_transaction_without_the_rights_is_denied(strict_consul: Consul) -> None:
    with pytest.raises(DeniedError):
        strict_consul.client("").kv_transact("note it", (set_key("hms/denied", b"1"),))


@pytest.mark.contract("ConsulClient.ca_roots", "ConsulClient.leaf_certificate")
def test_a_leaf_is_signed_for_the_service_in_the_mesh_of_the_roots(client: ConsulClient) -> None:
    roots = client.ca_roots()
    leaf = client.leaf_certificate("signed")

    (active,) = [root for root in roots if root.active]
    assert active.pem.startswith("-----BEGIN CERTIFICATE-----")
    assert active.not_after
    assert leaf.spiffe_id == f"spiffe://{active.trust_domain}/ns/default/dc/dc1/svc/signed"
    assert leaf.certificate_pem.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" in leaf.key_pem
    assert leaf.key_pem not in repr(leaf)
    assert leaf.valid_after < leaf.valid_before
    assert client.leaf_certificate("signed") == leaf


@pytest.mark.contract("ConsulClient.ca_configuration", "ConsulClient.set_ca_configuration")
def test_the_authority_is_configured(client: ConsulClient) -> None:
    before = client.ca_configuration()
    assert before.provider == "consul"

    client.set_ca_configuration("consul", {**before.config, "LeafCertTTL": "48h"})

    after = client.ca_configuration()
    assert after.config["LeafCertTTL"] == "48h"
    assert after.modify_index > before.modify_index


@pytest.mark.contract("ConsulClient.set_ca_configuration")
def test_an_authority_that_is_none_is_refused(client: ConsulClient) -> None:
    with pytest.raises(InvalidRequestError):
        client.set_ca_configuration("no-such-authority", {})


@pytest.mark.contract("ConsulClient.own_token")
def test_without_acls_there_is_no_token(client: ConsulClient) -> None:
    assert client.own_token() is None


@pytest.mark.contract("ConsulClient.servers", "ConsulClient.transfer_leadership")
def test_the_only_server_cannot_hand_its_leadership_on(client: ConsulClient) -> None:
    assert len(client.servers()) == 1
    with pytest.raises(InvalidRequestError, match="cannot find peer"):
        client.transfer_leadership()
    assert client.leader()


@pytest.mark.contract("ConsulClient.ca_roots", "ConsulClient.leaf_certificate")
def test_a_root_of_consuls_own_is_made_anew_as_often_as_one_likes(client: ConsulClient) -> None:
    nobody = NomadClient(Connection("http://127.0.0.1:1"), "default", "global")
    seen = {root.id for root in client.ca_roots()}
    for _ in range(2):
        renew_root(Servers(nobody, client, None))
        (active,) = [root for root in client.ca_roots() if root.active]
        assert active.id not in seen
        seen.add(active.id)
        leaf, *between = read_pem(client.leaf_certificate("renewed").certificate_pem)
        assert leaf.signer_key_id == active.signing_key_id
        # Who knows the earlier root alone trusts the leaf by the certificate between them.
        assert [one.key_id for one in between] == [active.signing_key_id]
    assert seen == {root.id for root in client.ca_roots()}
