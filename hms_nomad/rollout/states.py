"""The words of a rollout: where it stands, and what is done."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a rollout stands."""

    PREPARE = "prepare"
    START = "start"
    PROBE = "probe"
    SHIFT = "shift"
    HOLD = "hold"
    RETIRE = "retire"
    DRAIN = "drain"
    PROMOTE = "promote"
    DONE = "done"
    RETURN = "return"
    CLEAN = "clean"
    REVERT = "revert"
    TAKEN_BACK = "taken-back"


MEANINGS: dict[State, str] = {
    State.PREPARE: "the mesh learns of the new release, which gets no traffic",
    State.START: "new instances start beside the old ones",
    State.PROBE: "the named probes are asked at every new instance",
    State.SHIFT: "the weight of the step is set, and every caller's proxy takes it over",
    State.HOLD: "the new release is judged with the traffic of the step",
    State.RETIRE: "routes and intentions become those of the new release, and every caller's proxy forgets the old one",
    State.DRAIN: "old instances, without new requests, finish those they have",
    State.PROMOTE: "Nomad stops the old instances",
    State.DONE: "the new release has replaced the old one",
    State.RETURN: "all traffic goes back to the old release",
    State.CLEAN: "what the rollout added to the mesh goes, and every caller's proxy forgets the new release",
    State.REVERT: "the new instances stop, and the job becomes the old one again",
    State.TAKEN_BACK: "the old release has everything again",
}


class Action(StrEnum):
    """What is to be done next; who does it is ``hms_nomad.rollout.perform``."""

    WAIT = "wait"
    PREPARE_MESH = "write resolver, intentions, router and a splitter with weight 0"
    REGISTER_JOB = "register the new job"
    HAND_BACK = "end here: only the spec's file can go on"
    ASK_PROBES = "ask the probes"
    SET_WEIGHT = "write the splitter and wait for the callers' proxies"
    CONFIRM_WEIGHT = "wait until the callers' proxies surely have the weight"
    BEGIN_STEP = "note the begin of the step"
    SEND_REQUESTS = "send requests of our own to the new instances"
    NEXT_STEP = "note the next step"
    LAST_STEP = "note the last step"
    RETIRE_OLD = "note that nothing is taken back from here on"
    SETTLE_MESH = "write the new release's entries, remove splitter and old subset"
    CONFIRM_FORGOTTEN = "wait until no caller's proxy knows the release without traffic"
    PROMOTE_DEPLOYMENT = "promote the deployment"
    FINISH = "note the success, tag the version"
    TAKE_BACK = "note that the release is taken back, and why"
    SPLIT_AGAIN = "write a splitter with weight 100, and wait until the callers' proxies know the old release"
    RETURN_TRAFFIC = "write the splitter with weight 0 and wait for the callers' proxies"
    FAIL_DEPLOYMENT = "fail the deployment, which makes Nomad revert the job"
    RESTORE_JOB = "register the old job again"
    CLEAN_MESH = "write the old release's entries, remove splitter and new subset"
    CLOSE = "note that the release was taken back"
