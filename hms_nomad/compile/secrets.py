"""The secrets of a spec -> templates by which Nomad brings them to the task, and the role and policy that allow it.

No secret passes through here: templates say where they are, and the node reads them by the task's own identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hms_nomad.compile.desired import OWNER_MARK
from hms_nomad.compile.names import mesh_host, short_hash
from hms_nomad.platform.model import Platform, PlatformError
from hms_nomad.sections.section import as_data
from hms_nomad.spec.duration import seconds
from hms_nomad.spec.model import Spec
from hms_nomad.spec.model_secret import Secret
from hms_nomad.spec.runnable import Runnable, runnables
from hms_nomad.spec.secrets import Reference, parse_reference

PREFIX = "hms-svc-"
"""How the names of all roles and policies of services in Vault begin."""

ENV_FILE = "hms-env-"
"""How the names of files with variables begin, in ``secrets/``."""

POLICY_KIND, ROLE_KIND, PKI_KIND = "vault policy", "vault role", "vault pki role"

_CHANGE = {"restart": "restart", "signal": "signal", "none": "noop"}
_AUDIENCE = "vault.io"
_HOUR = 3600 * 1_000_000_000
_TOKEN_SECONDS = 1800
_CERTIFICATE = "72h"
# Under exec a task without a user is nobody, whose number is the same on every Linux.
_NOBODY = 65534
OWN_TOKEN = (
    ("auth/token/lookup-self", "read"),
    ("auth/token/renew-self", "update"),
    ("auth/token/revoke-self", "update"),
)
"""The rights by which a job looks after its own token in Vault."""

_LEASES = ("sys/leases/renew", "update")


def secret_templates(task: Runnable, spec: Spec, platform: Platform, driver: str) -> list[dict[str, Any]]:
    """The templates of a task's secrets (Nomad API, job JSON, ``Templates``), each in the task's own ``secrets/``.

    Variables that change alike share a file that Nomad reads into the environment.
    """
    found = []
    for change in ("restart", "none"):
        inside = [
            (name, one) for name, one in sorted(task.secrets.items()) if one.file is None and one.change == change
        ]
        if inside:
            text = "".join(_variable(name, parse_reference(one.ref), platform) for name, one in inside)
            fields = {"Envvars": True, "ChangeMode": _CHANGE[change], "Perms": "0600"}
            found.append(_template(f"{ENV_FILE}{change}.env", text, fields))
    owner = _owner(task, driver)
    for _, one in sorted(task.secrets.items()):
        if one.file is not None:
            fields = {"ChangeMode": _CHANGE[one.change], "Perms": one.mode, **owner}
            fields |= {"ChangeSignal": one.signal} if one.signal else {}
            found.append(_template(one.file, _content(one, spec, platform), fields))
    return found


def needs_vault(task: Runnable) -> bool:
    """Whether a task reads anything from Vault."""
    return any(parse_reference(one.ref).store != "nomad" for one in task.secrets.values())


def vault_fields(spec: Spec, platform: Platform) -> dict[str, Any]:
    """What a task says of itself to Vault: its identity, and the role by which it logs in.

    The token stays out of the task. Renewing it restarts nothing: Nomad 2.0.5 would restart the task each time.
    """
    return {
        "Vault": {"Role": role_name(spec, platform), "ChangeMode": "noop", "Env": False, "DisableFile": True},
        "Identities": [{"Name": "vault_default", "Audience": [_AUDIENCE], "TTL": _HOUR}],
    }


def vault_objects(spec: Spec, platform: Platform) -> tuple[Mapping[str, Any], ...]:
    """Policy, role and certificate role of a spec, as ``{"kind", "name", "body"}``; none without secrets in Vault.

    The policy allows what the spec declares, path by path; the role is bound to the namespace and the id of the job.
    Their names have a hash of what they say: while two releases run side by side, each has its own. Raises
    PlatformError where the platform has no Vault.
    """
    secrets = _in_vault(spec)
    if not secrets:
        return ()
    if platform.vault is None:
        raise PlatformError(
            f"{spec.name} has secrets in Vault, and the context names none; write there vault: {{address: https://...}}"
        )
    name = role_name(spec, platform)
    policy = {"kind": POLICY_KIND, "name": name, "body": {"policy": _policy(secrets, platform, name)}}
    role = {
        "kind": ROLE_KIND,
        "name": f"{platform.secrets.login}/role/{name}",
        "body": jwt_role(platform.namespace, spec.name, name),
    }
    names = sorted({host for one in secrets if one.ref == "pki" for host in _hosts(one, spec, platform)})
    if not names:
        return (policy, role)
    longest = max(seconds(one.ttl or _CERTIFICATE) for one in secrets if one.ref == "pki")
    issuing = {
        "kind": PKI_KIND,
        "name": f"{platform.secrets.pki}/roles/{name}",
        "body": {
            "allowed_domains": names,
            "allow_bare_domains": True,
            "allow_subdomains": False,
            "allow_localhost": False,
            "allow_ip_sans": False,
            "key_type": "ec",
            "key_bits": 256,
            "max_ttl": int(longest),
        },
    }
    return (policy, role, issuing)


def role_name(spec: Spec, platform: Platform) -> str:
    """The name of a spec's policy and role, which has a hash of what it declares; no other service's begins like it."""
    return f"{role_stem(platform.namespace, spec.name)}{_digest(spec, platform)}"


def jwt_role(namespace: str, job: str, policy: str) -> dict[str, Any]:
    """A role by which exactly one job logs in to Vault, and gets one policy.

    API: https://developer.hashicorp.com/vault/api-docs/auth/jwt#create-update-role
    """
    return {
        "role_type": "jwt",
        "bound_audiences": [_AUDIENCE],
        "bound_claims_type": "string",
        "bound_claims": {"nomad_namespace": namespace, "nomad_job_id": job},
        "user_claim": "/nomad_job_id",
        "user_claim_json_pointer": True,
        "claim_mappings": {"nomad_job_id": "nomad_job_id", "nomad_namespace": "nomad_namespace"},
        "token_type": "service",
        "token_policies": [policy],
        "token_no_default_policy": True,
        "token_period": _TOKEN_SECONDS,
    }


def role_stem(namespace: str, service: str) -> str:
    """How the names of all of one service's policies and roles begin; a service's name has no dot.

    Vault keeps names of policies in lower case.
    """
    return f"{PREFIX}{namespace.lower()}.{service}."


def _digest(spec: Spec, platform: Platform) -> str:
    secrets = [(one.ref, one.names, seconds(one.ttl or _CERTIFICATE)) for one in _in_vault(spec)]
    return short_hash([platform.namespace, spec.name, as_data(platform.secrets), secrets], 8)


def _in_vault(spec: Spec) -> list[Secret]:
    found = [one for _, task in runnables(spec) for one in task.secrets.values()]
    kept = [one for one in found if parse_reference(one.ref).store != "nomad"]
    return sorted(kept, key=lambda one: (one.ref, one.names, seconds(one.ttl or _CERTIFICATE)))


def _policy(secrets: list[Secret], platform: Platform, name: str) -> str:
    rights = dict(OWN_TOKEN)
    for one in secrets:
        reference = parse_reference(one.ref)
        if reference.store == "pki":
            rights[f"{platform.secrets.pki}/issue/{name}"] = "update"
            continue
        path, versioned = _place(reference, platform)
        rights[path] = "read"
        if not versioned:
            rights |= dict([_LEASES])
    return policy_text(rights)


def policy_text(rights: Mapping[str, str]) -> str:
    """A policy of Vault, with our mark, of one right for each path."""
    lines = [f'path "{path}" {{ capabilities = ["{right}"] }}' for path, right in sorted(rights.items())]
    return "\n".join([f"# {OWNER_MARK}", *lines, ""])


def _place(reference: Reference, platform: Platform) -> tuple[str, bool]:
    """The path that is read, and whether it is one of KV 2, whose values lie one level deeper."""
    for mount in platform.secrets.kv:
        if reference.path.startswith(f"{mount}/"):
            return f"{mount}/data/{reference.path.removeprefix(f'{mount}/')}", True
    return reference.path, False


def _hosts(secret: Secret, spec: Spec, platform: Platform) -> tuple[str, ...]:
    return secret.names or (mesh_host(spec.name, platform),)


def _owner(task: Runnable, driver: str) -> dict[str, int]:
    """Who a file belongs to, where that is known by number; root when nothing is said."""
    user, _, group = (task.user or "").partition(":")
    if user.isdigit():
        return {"Uid": int(user), "Gid": int(group) if group.isdigit() else int(user)}
    return {"Uid": _NOBODY, "Gid": _NOBODY} if not user and driver == "exec" else {}


def _template(name: str, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"DestPath": f"secrets/{name}", "EmbeddedTmpl": text, "ErrMissingKey": True, **fields}


def _variable(name: str, reference: Reference, platform: Platform) -> str:
    """A line of an environment file; its value is quoted as JSON, which the reader of such files understands."""
    source, values = _source(reference, platform)
    if reference.field:
        line = f"{name}={_field(values, reference, quoted=True)}"
        return f"{_do(f'with {source}')}{line}{_END}\n"
    key = _do('$key | toUpper | replaceAll "-" "_" | replaceAll "." "_"')
    line = f"{name}_{key}={_do(f'{_PRINT} $value | toJSON')}\n"
    return f"{_do(f'with {source}')}{_do(f'range $key, $value := {values}')}{line}{_END}{_END}"


def _content(secret: Secret, spec: Spec, platform: Platform) -> str:
    reference = parse_reference(secret.ref)
    if reference.store == "pki":
        return _certificate(secret, spec, platform)
    source, values = _source(reference, platform)
    if reference.field:
        inside = _field(values, reference, quoted=False)
    else:
        inside = _object(values) if reference.store == "nomad" else _do(f"{values} | toJSON")
    return f"{_do(f'with {source}')}{inside}{_END}"


def _object(values: str) -> str:
    """An object in JSON, of what a template cannot print as one."""
    pair = f"{_do('$key | toJSON')}: {_do(f'{_PRINT} $value | toJSON')}"
    opened = _do('$comma := ""') + _do('"{"') + _do(f"range $key, $value := {values}")
    return opened + _do("$comma") + pair + _do('$comma = ", "') + _END + _do('"}"')


def _source(reference: Reference, platform: Platform) -> tuple[str, str]:
    """The function that reads a place, and where its values are in what it answers."""
    if reference.store == "nomad":
        return f'nomadVar "{reference.path}"', "."
    path, versioned = _place(reference, platform)
    return f'secret "{path}"', ".Data.data" if versioned else ".Data"


def _field(values: str, reference: Reference, *, quoted: bool) -> str:
    """One value as it is, or quoted as JSON; one that is missing or empty ends the rendering, and names itself."""
    shown = _do(f"{_PRINT} ." + (" | toJSON" if quoted else ""))
    missing = _do(f'sprig_fail "{reference.path} has no field {reference.field}"')
    return _do(f'with index {values} "{reference.field}"') + shown + _do("else") + missing + _END


def _certificate(secret: Secret, spec: Spec, platform: Platform) -> str:
    """Certificate, chain and key in one file: they come from one question, and belong together."""
    hosts = _hosts(secret, spec, platform)
    words = [f"{platform.secrets.pki}/issue/{role_name(spec, platform)}", f"common_name={hosts[0]}"]
    words += [f"alt_names={','.join(hosts)}", f"ttl={int(seconds(secret.ttl or _CERTIFICATE))}s"]
    asked = " ".join(f'"{word}"' for word in words)
    chain = f"{_do('range .CAChain')}{_do('.')}\n{_do('else')}{_do('.CA')}\n{_END}"
    return f"{_do(f'with pkiCert {asked}')}{_do('.Cert')}\n{chain}{_do('.Key')}\n{_END}"


def _do(code: str) -> str:
    """An action of Nomad's template language."""
    return f"{{{{ {code} }}}}"


_END = _do("end")
_PRINT = 'printf "%v"'
