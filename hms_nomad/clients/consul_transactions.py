"""Several keys of Consul written in one call, all or none: what a command notes of itself at one moment."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from hms_nomad.clients.classify import classify
from hms_nomad.clients.consul_store import StoreCalls
from hms_nomad.clients.consul_types import KvPair, KvStep, Transaction
from hms_nomad.patterns import lazy_pattern

LONGEST_TRANSACTION = 128
"""How many steps Consul takes in one transaction."""

_REFUSED = 409
_CONDITION = lazy_pattern(r"index is stale|lock is already held|session check|check session|invalid session")
_DENIED = lazy_pattern("permission denied", re.IGNORECASE)
_WRITES = frozenset({"cas", "lock", "delete-cas", "set"})


class TransactionCalls(StoreCalls):
    """The call for transactions on keys. It raises the errors of ``hms_nomad.clients.errors``."""

    def kv_transact(self, operation: str, steps: Sequence[KvStep]) -> Transaction:
        """Do all ``steps`` in their order at one moment, or none of them; ``operation`` names them in errors.

        At most LONGEST_TRANSACTION steps and 512 KiB. A step whose condition does not hold is no error but told in the
        answer. After a lost answer the first step that writes tells whether they were done.
        API: https://developer.hashicorp.com/consul/api-docs/txn#create-transaction
        """
        for step in steps:
            self._segment(operation, step.key.removesuffix("/") if step.verb == "get-tree" else step.key)
        body = json.dumps([{"KV": _form(step)} for step in steps])
        request = self._transport.request(operation, write=True)

        def parse(answer: Any) -> Transaction:
            found = json.loads(answer.body)
            if answer.code != _REFUSED:
                return Transaction(tuple(_pair(result["KV"]) for result in found["Results"] or ()))
            for error in found["Errors"]:
                if not _CONDITION.search(error["What"]):
                    # Consul answers one status for whatever it refuses; the text tells the rights from the content.
                    raise classify(request, 403 if _DENIED.search(error["What"]) else 400, error["What"], {})
            return Transaction(refused=tuple(error["OpIndex"] for error in found["Errors"]))

        def send() -> Transaction:
            done: Transaction = self._http.put(parse, "/v1/txn", data=body)
            return done

        return self._transport.write(
            operation,
            send,
            lambda: self._transaction_settled(steps),
            accepted=frozenset({_REFUSED}),
        )

    def _transaction_settled(self, steps: Sequence[KvStep]) -> Transaction | None:
        """What became of a transaction whose answer was lost; None when it can be sent again."""
        writes = [step for step in steps if step.verb in _WRITES]
        pairs: list[KvPair] = []
        for place, step in enumerate(writes):
            pair = self.kv_get(step.key)
            if place == 0 and not _is_done(step, pair):
                return None
            pairs += [pair] if pair is not None else []
        for step in steps:
            pairs += self.kv_list(step.key) if step.verb == "get-tree" else ()
        return Transaction(tuple(pairs))


def _is_done(step: KvStep, pair: KvPair | None) -> bool:
    if step.verb == "delete-cas":
        return pair is None
    return pair is not None and (pair.value, pair.session) == (step.value, step.session)


def _form(step: KvStep) -> dict[str, Any]:
    form: dict[str, Any] = {"Verb": step.verb, "Key": step.key}
    if step.verb in ("set", "cas", "lock"):
        form["Value"] = base64.b64encode(step.value).decode("ascii")
    if step.verb in ("cas", "delete-cas"):
        form["Index"] = step.index
    if step.session:
        form["Session"] = step.session
    return form


def _pair(found: Any) -> KvPair:
    return KvPair(
        found["Key"],
        base64.b64decode(found["Value"] or ""),
        int(found["ModifyIndex"]),
        found.get("Session") or "",
    )
