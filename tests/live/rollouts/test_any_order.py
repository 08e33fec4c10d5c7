"""Commands in any order, killed or not, leave one release with everything, or a journal that says how to go on."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from zero_loss.world import World

from tests.live.conftest import LiveStack
from tests.live.rollouts.any_order import AnyOrder
from tests.live.rollouts.program import installed_rollouts


@pytest.mark.timeout(900)
def test_any_order_of_commands_leaves_one_release_with_everything_or_a_journal(
    world: World, stack: LiveStack, tmp_path: Path
):
    """HMS_SEED repeats an order; scripts/any_order.py goes on for longer."""
    seed = int(os.environ.get("HMS_SEED") or random.randrange(1_000_000))  # noqa: S311
    run = AnyOrder(world, stack, tmp_path, random.Random(seed), lambda _: None)  # noqa: S311
    run.done.append(f"seed {seed}")
    with installed_rollouts(stack, tmp_path), world.load() as loaded:
        for _ in range(4):
            run.move()
        run.end()
    assert loaded.failed == 0, (run.done, loaded.reasons)
