"""The table of commands: what the command line lists, and completes, before any of them is loaded.

Nothing is imported here, not even ``dataclasses``: a shell loads this at every Tab.

To add a command: a module with an ``app`` (see ``hms_nomad.cli.command``) and a line here.
"""

from __future__ import annotations

EVERYDAY = "Everyday"
LOOKING = "Looking"
MACHINE = "Setting up"


class Entry:
    """A command of the table: where it lives, its one line of help, and the panel it is listed in."""

    __slots__ = ("about", "module", "panel")

    def __init__(self, module: str, about: str, panel: str) -> None:
        self.module = module
        self.about = about
        self.panel = panel


COMMANDS: dict[str, Entry] = {
    "init": Entry("hms_nomad.cli.init", "Write a first spec, also from a job or a compose file.", EVERYDAY),
    "validate": Entry("hms_nomad.cli.validate", "Check specs, without asking a server.", EVERYDAY),
    "explain": Entry("hms_nomad.cli.explain", "Explain a field of the spec.", EVERYDAY),
    "render": Entry("hms_nomad.cli.render", "Show what a spec stands for, without asking a server.", EVERYDAY),
    "build": Entry("hms_nomad.cli.build", "Build the image or the archive of a service.", EVERYDAY),
    "plan": Entry("hms_nomad.cli.plan", "Show what a deploy would change.", EVERYDAY),
    "deploy": Entry("hms_nomad.cli.deploy", "Bring services up, and wait until they are healthy.", EVERYDAY),
    "promote": Entry("hms_nomad.cli.promote", "Let a rollout enter its next step, or take all the traffic.", EVERYDAY),
    "abort": Entry("hms_nomad.cli.abort", "Take a rollout back, traffic first.", EVERYDAY),
    "rollback": Entry("hms_nomad.cli.rollback", "Go back to an earlier release.", EVERYDAY),
    "pause": Entry("hms_nomad.cli.pause", "Let a rollout stay at its step.", EVERYDAY),
    "resume": Entry("hms_nomad.cli.resume", "Let a rollout go on, also one whose process died.", EVERYDAY),
    "drive": Entry("hms_nomad.cli.drive", "Drive a rollout to its end, as the cluster's own job does.", MACHINE),
    "scale": Entry("hms_nomad.cli.scale", "Set how many instances run, or see why it is that many.", EVERYDAY),
    "stop": Entry("hms_nomad.cli.stop", "Stop a service and remove what was made for it.", EVERYDAY),
    "status": Entry("hms_nomad.cli.status", "Show what runs, and what is wrong with it.", LOOKING),
    "drift": Entry("hms_nomad.cli.drift", "Find what somebody changed by hand.", LOOKING),
    "top": Entry("hms_nomad.cli.top", "Show what services use and how they answer, live.", LOOKING),
    "watch": Entry("hms_nomad.cli.watch", "Follow a rollout that others drive.", LOOKING),
    "history": Entry("hms_nomad.cli.history", "Show the deploys of a service, and how they ended.", LOOKING),
    "logs": Entry("hms_nomad.cli.logs", "Show what the instances of a service write.", LOOKING),
    "exec": Entry("hms_nomad.cli.exec", "Run a command in an instance of a service, such as a shell.", LOOKING),
    "provenance": Entry("hms_nomad.cli.provenance", "Show where what runs comes from, and check it.", LOOKING),
    "sbom": Entry("hms_nomad.cli.sbom", "Show the packages in what runs.", LOOKING),
    "registry": Entry("hms_nomad.cli.registry", "Look up where services live.", LOOKING),
    "mesh": Entry("hms_nomad.cli.mesh", "See who may call whom, and how the sidecars are.", LOOKING),
    "call": Entry("hms_nomad.cli.call", "Make one request to a service in the mesh.", LOOKING),
    "connect": Entry("hms_nomad.cli.connect", "Open a local port that leads to a service in the mesh.", LOOKING),
    "load": Entry("hms_nomad.cli.load", "Send a steady rate of requests to a service in the mesh.", LOOKING),
    "gateway": Entry("hms_nomad.cli.gateway", "Look at the way in from outside.", LOOKING),
    "dev": Entry("hms_nomad.cli.dev", "Run a whole platform on this machine, for development.", MACHINE),
    "certs": Entry("hms_nomad.cli.certs", "See, check and renew certificates.", MACHINE),
    "bootstrap": Entry("hms_nomad.cli.bootstrap", "Prepare Nomad, Consul and Vault for services.", MACHINE),
    "platform": Entry("hms_nomad.cli.platform", "Run the platform's own jobs, such as the gateway.", MACHINE),
    "policies": Entry("hms_nomad.cli.policies", "Show the access policies that ship with the program.", MACHINE),
    "audit": Entry("hms_nomad.cli.audit", "See who changed what, and check that the trail is whole.", LOOKING),
    "events": Entry("hms_nomad.cli.events", "Tell what happens as CloudEvents, also to a file or a server.", LOOKING),
    "lock": Entry("hms_nomad.cli.lock", "See who works on a service, and end a lock that was left behind.", LOOKING),
    "doctor": Entry("hms_nomad.cli.doctor", "Find out what is wrong, and what would be right.", LOOKING),
    "login": Entry("hms_nomad.cli.login", "Log in to a server, and keep its token for later commands.", MACHINE),
    "logout": Entry("hms_nomad.cli.logout", "Forget the tokens of logins.", MACHINE),
    "context": Entry("hms_nomad.cli.context", "Choose the cluster that commands talk to.", MACHINE),
}
