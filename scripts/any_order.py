"""Deploy, steer, scale and kill in any order on real servers; after each command look at what it left.

    scripts/any_order.py [--moves 60] [--seed 4711] [--rate 20]

Needs what `hms-nomad dev up` needs. Requests go through the mesh all the while; ends with 1 when one was lost, or when
anything was left that no journal explains.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from zero_loss.world import World

from hms_nomad.workflows.session import open_session
from tests.live.conftest import own_contexts, running_stack
from tests.live.rollouts.any_order import AnyOrder
from tests.live.rollouts.program import installed_rollouts


def main() -> int:
    """Throw the dice and print a line a move."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=60, help="how many commands are run")
    parser.add_argument("--seed", type=int, default=None, help="repeats an order")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second meanwhile")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.randrange(1_000_000)
    print(f"seed {seed}", flush=True)
    with (
        running_stack("any-order", vault=False, docker=False) as stack,
        tempfile.TemporaryDirectory() as folder,
        own_contexts(stack.config_dir),
        open_session(stack.platform) as session,
    ):
        world = World(session, stack.platform, chosen.rate)
        world.start()
        run = AnyOrder(world, stack, Path(folder), random.Random(seed), lambda line: print(line, flush=True))
        with installed_rollouts(stack, Path(folder)), world.load() as loaded:
            for _ in range(chosen.moves):
                run.move()
            run.end()
    print(f"{len(run.done)} moves, {loaded.failed} of {loaded.sent} requests lost {loaded.reasons or ''}")
    for second, lost in sorted(loaded.seconds.items()):
        print(f"{second:5} s  {lost} lost")
    return 1 if loaded.failed else 0


if __name__ == "__main__":
    sys.exit(main())
