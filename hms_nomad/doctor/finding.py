"""A code -> what it means and what would be right: the table of everything that the doctor finds."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Section(StrEnum):
    """The parts of an examination, in their order."""

    MACHINE = "machine"
    SERVERS = "servers"
    NODES = "nodes"
    MESH = "mesh"
    RIGHTS = "rights"
    PLATFORM = "platform"
    SERVICES = "services"
    TRACES = "traces"


class Level(StrEnum):
    """``error``: something does not work; ``warning``: it will not, or is not safe."""

    ERROR = "error"
    WARNING = "warning"


class Ailment(Struct, frozen=True):
    """One row of the table; ``means`` says what is wrong, ``hint`` what would be right."""

    section: Section
    level: Level
    means: str
    hint: str


class Finding(Struct, frozen=True):
    """Something that is wrong: ``subject`` is the server, node or service it is about, ``detail`` what was seen."""

    code: str
    section: Section
    level: Level
    subject: str
    detail: str
    hint: str


class SectionResult(Struct, frozen=True):
    """One section: how many things were looked at, what was found, and what could not be looked at and why."""

    section: Section
    checks: int
    findings: tuple[Finding, ...] = ()
    not_run: tuple[str, ...] = ()


def finding(code: str, subject: str, detail: str, hint: str = "") -> Finding:
    """The finding with ``code``; ``hint`` replaces that of the table where more is known. Raises KeyError."""
    row = CODES[code]
    return Finding(code, row.section, row.level, subject, " ".join(detail.split()), hint or row.hint)


def _error(section: Section, means: str, hint: str) -> Ailment:
    return Ailment(section, Level.ERROR, means, hint)


def _warning(section: Section, means: str, hint: str) -> Ailment:
    return Ailment(section, Level.WARNING, means, hint)


_M, _S, _N, _C = Section.MACHINE, Section.SERVERS, Section.NODES, Section.MESH
_R, _P, _V, _T = Section.RIGHTS, Section.PLATFORM, Section.SERVICES, Section.TRACES

CODES: dict[str, Ailment] = {
    # This machine, before it runs anything (--pre).
    "D001": _error(_M, "the machine cannot run a node", "run it as root on Linux"),
    "D002": _error(_M, "a tool of the system is missing", "install it with the system's packages"),
    "D003": _error(_M, "a program of the platform is missing", "put it on PATH, or let dev up fetch it"),
    "D004": _error(_M, "the CNI plugins are missing", "install them: apt-get install containernetworking-plugins"),
    "D005": _error(_M, "a port is taken", "stop the program that holds it, or choose other ports"),
    "D006": _warning(_M, "no container engine answers", "start one, or run services as processes"),
    "D007": _error(
        _M, "Consul refuses this Envoy: it is older than any it supports", "take an Envoy that this Consul supports"
    ),
    # The servers.
    "D101": _error(_S, "the server cannot be reached", "start it, or mend the address: hms-nomad context show"),
    "D102": _error(_S, "the host name of the server's address is unknown", "mend the name, or the machine's resolver"),
    "D103": _error(
        _S,
        "the server's certificate is not trusted: another authority, another name, or out of date",
        "name the right authority in ca_file, the right name in tls_server_name, or renew the certificate",
    ),
    "D104": _error(
        _S, "the server wants a client certificate, or refuses ours", "set client_cert and client_key in the context"
    ),
    "D105": _error(_S, "http is spoken where https is, or the other way round", "mend the address's scheme"),
    "D106": _error(
        _S, "the server takes connections and does not answer", "look at its load and its log, or restart it"
    ),
    "D110": _error(_S, "the servers have no leader", "start the missing servers: a majority has to run"),
    "D111": _error(_S, "the server does not know the token", "log in anew, or mend the token file or variable"),
    "D112": _error(_S, "Vault is sealed", "unseal it: vault operator unseal"),
    "D113": _error(_S, "Vault is not initialized", "initialize it: vault operator init"),
    "D114": _error(
        _S, "the server is too old for this program", "update it; docs/doctor.md names the oldest that does"
    ),
    "D115": _warning(_S, "the token ends soon", "log in anew, or renew it"),
    "D116": _error(_S, "the clocks differ", "let all machines keep time by NTP (chrony, systemd-timesyncd)"),
    "D117": _warning(
        _S, "a token with all rights is used day by day", "take one with the rights of a role: hms-nomad policies show"
    ),
    "D118": _error(_S, "another program answers at the address", "mend the address: hms-nomad context show"),
    "D119": _warning(_S, "this Nomad has a known hole through which jobs leave their limits", "update Nomad"),
    # The nodes.
    "D201": _error(_N, "no node is ready for work", "start a Nomad client; see its log"),
    "D202": _error(_N, "a node is down", "start it again, or remove it: nomad system gc"),
    "D203": _warning(_N, "a node takes no new work", "nomad node eligibility -enable ID, or end its drain"),
    "D204": _error(_N, "no node has a driver that the platform needs", "install and enable the driver on the nodes"),
    "D205": _error(_N, "a node lacks CNI plugins", "install them where the client's cni_path looks"),
    "D206": _error(_N, "a node has no bridge network", "load the kernel's modules bridge and br_netfilter"),
    "D207": _error(_N, "a node sees no Consul", "start Consul's agent on it, and set consul.address of Nomad's client"),
    "D208": _error(_N, "Consul on a node has no gRPC port", "set ports.grpc (8502) in its configuration"),
    "D209": _error(_N, "Consul on a node has the mesh switched off", "set connect.enabled = true in its configuration"),
    "D210": _error(_N, "a node sees no Vault", "set vault.enabled and vault.address of Nomad's client"),
    "D211": _error(
        _N,
        "a node measures no allocation, so nothing is ever scaled up",
        "set telemetry.publish_allocation_metrics = true in Nomad's client",
    ),
    "D212": _error(_N, "a node is newer than the servers, which Nomad does not support", "update the servers first"),
    # The mesh.
    "D301": _error(_C, "Consul has the mesh switched off", "set connect.enabled = true on all servers"),
    "D302": _error(_C, "Consul's gRPC port is closed, so no sidecar gets a configuration", "set ports.grpc = 8502"),
    "D303": _error(
        _C,
        "Nomad is not told the authority of Consul's gRPC: sidecars end with 'DataSource cannot be empty'",
        "set consul.grpc_ca_file and grpc_address of Nomad's client, or close Consul's TLS port (ports.grpc_tls = -1)",
    ),
    "D304": _error(_C, "the mesh's root certificate has expired", "rotate it; sidecars refuse each other until then"),
    "D305": _warning(_C, "the mesh's root certificate expires soon", "rotate it before: Consul makes a new one"),
    "D306": _warning(
        _C,
        "everybody may call everybody of whom no intention speaks",
        'set default_intention_policy = "deny", or deny by default in the ACLs',
    ),
    "D307": _warning(_C, "an intention allows every service", "delete it, and name callers with allow or uses"),
    "D308": _error(
        _C,
        "the mesh's authority signs nothing, so new sidecars get no certificate",
        "see that Vault is unsealed, and that Consul's token for it has not ended",
    ),
    "D309": _error(
        _C,
        "a jwt-provider without JWKSCluster stops every sidecar of the mesh from taking new configuration",
        'set JSONWebKeySet.Remote.JWKSCluster.DiscoveryType = "STRICT_DNS" in it',
    ),
    "D310": _error(_C, "Consul's DNS does not answer", "see ports.dns and client_addr of the agent, and the firewall"),
    "D311": _error(
        _C,
        "Consul refuses the platform's Envoy: it is older than any it supports",
        "take an Envoy that this Consul supports (sidecar.image of the context)",
    ),
    "D312": _error(
        _C,
        "a gateway or the egress refuses its configuration and goes on with an older one, perhaps without TLS",
        "mend what it names: a ca_file must be there for the egress on each of its nodes; then deploy that again",
    ),
    # Rights.
    "D401": _error(
        _R, "the token lacks a right of the role", "give it the role's policy: hms-nomad policies show ROLE"
    ),
    # The platform's own jobs.
    "D501": _error(_P, "a job of the platform is not healthy", "see its log: hms-nomad logs NAME"),
    "D502": _warning(_P, "a job of the platform runs as the context describes it no more", "install it again"),
    "D503": _error(
        _P, "services are to be scaled and no autoscaler runs", "install one: hms-nomad platform install autoscaler"
    ),
    "D504": _error(_P, "routes are public and no gateway runs", "install one: hms-nomad platform install gateway"),
    "D505": _error(
        _P, "a job that is not ours has the name of one of the platform", "give one of the two another name"
    ),
    # Services.
    "D600": _error(_V, "a service is not healthy", "see hms-nomad status NAME and hms-nomad logs NAME"),
    "D601": _error(
        _V,
        "Nomad could not make the sidecar's configuration (envoy_bootstrap)",
        "see that consul is on the PATH of the node's Nomad, that its token may read the service, and gRPC is open",
    ),
    "D602": _error(
        _V,
        "Envoy got TLS for Consul with an empty authority (DataSource cannot be empty)",
        "mend D303 and deploy again",
    ),
    "D603": _error(_V, "a network could not be made on the node", "see the CNI plugins and cni_path of the node"),
    "D604": _error(_V, "the image cannot be had", "see its name, the registry, and the node's credentials"),
    "D605": _error(_V, "the command is not on the node", "name a program that is there, or use an image"),
    "D606": _error(_V, "the task used more memory than it may", "raise memory in the spec"),
    "D607": _error(_V, "no node can take the service", "see the reason: resources, drivers or constraints"),
    "D608": _error(
        _V,
        "Consul did not accept the workload's identity",
        "see Consul's auth method for Nomad, and the binding rules that it has",
    ),
    "D609": _error(
        _V,
        "Vault did not accept the workload's identity",
        "see that the role exists in Vault, and which claims it is bound to",
    ),
    "D610": _error(_V, "a secret or key that a template names is not there", "write it, or mend its path in the spec"),
    "D611": _error(_V, "Envoy is too new or too old for Consul", "pin a pair that is supported, or ignore the check"),
    "D612": _error(
        _V, "a sidecar with a transparent proxy found no IPv4 address of Consul's DNS", "let Consul listen on IPv4"
    ),
    "D613": _error(_V, "the container engine refused the container", "see the reason, and the engine's log"),
    "D614": _error(_V, "a health check fails", "see its answer; the path, the port and the time it takes"),
    "D615": _error(_V, "the program ends by itself", "see hms-nomad logs NAME"),
    "D616": _error(
        _V,
        "the registry lets the node pull nothing without a password",
        "give Nomad's docker plugin on the nodes the registry's credentials (auth), see docs/build.md",
    ),
    # What earlier commands left.
    "D701": _warning(_T, "a command did not come to its end", "run the same command again, which is the repair"),
    "D702": _warning(
        _T, "a lock was left by a command that died", "wait until its session ends, or hms-nomad lock release"
    ),
    "D703": _warning(_T, "an entry of ours belongs to no service that runs", "hms-nomad stop NAME removes it"),
    "D705": _warning(_T, "a rollout waits and nobody drives it", "hms-nomad resume NAME, or abort"),
    "D704": _warning(
        _T, "somebody changed by hand what was deployed", "hms-nomad drift shows it; deploy the spec again"
    ),
}
