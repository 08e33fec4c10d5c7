"""Servers -> Observed, as the plan looks at it; offered here to the commands, written where rollouts need it too."""

from __future__ import annotations

from hms_nomad.apply.observe import Jobs as Jobs  # noqa: PLC0414 - offered here too
from hms_nomad.apply.observe import Mesh as Mesh  # noqa: PLC0414
from hms_nomad.apply.observe import at_once as at_once  # noqa: PLC0414
from hms_nomad.apply.observe import known as known  # noqa: PLC0414
from hms_nomad.apply.observe import observe as observe  # noqa: PLC0414
from hms_nomad.apply.observe import read_all as read_all  # noqa: PLC0414
from hms_nomad.apply.observe import read_mesh as read_mesh  # noqa: PLC0414
from hms_nomad.apply.observe import read_mesh_around as read_mesh_around  # noqa: PLC0414
