"""B9 and B10: what changing a release loses under load, and how soon a bad one is taken back."""

from __future__ import annotations

from zero_loss.ways import OURS, SHORT, gone, plain_run, start_plain
from zero_loss.ways_back import ways_back
from zero_loss.world import PLAIN, running_world

from .figures import Figure, Goal

_RATE = 200.0


def losses() -> list[Figure]:
    """Both, on a stack of its own."""
    with running_world(None, _RATE) as world:
        world.start()
        ours = [gone(world, name, OURS[name]) for name in SHORT]
        back = ways_back(world)
        start_plain(world)
        peer = plain_run(0.0)
        # The first change still stops instances that the start has left.
        peer(world)
        theirs = gone(world, "nomad job run", peer, PLAIN, len(SHORT))
    sent = sum(loaded.sent for loaded in ours)
    lost = Figure(
        "B9",
        "requests lost while releases change",
        "",
        {"ours": [sum(loaded.failed for loaded in ours)], "peer": [theirs.failed]},
        f"{len(SHORT)} x nomad job run without shutdown_delay, of {theirs.sent}",
        goals=[Goal("ours", at_most=0)],
        notes=[f"of {sent}: {', '.join(SHORT)}"],
    )
    return [
        lost,
        *(
            Figure(
                "B10",
                f"way back: {way.name}",
                "s",
                {"ours": [way.seconds]},
                goals=[Goal("ours", at_most=way.most)],
                notes=[way.since, f"{way.failed} of {way.sent} requests failed"],
            )
            for way in back
        ),
    ]
