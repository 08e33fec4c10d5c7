"""A plan shows of a file the lines that change, not the whole of it twice."""

from __future__ import annotations

import io

from hms_nomad.output.plans import plan_lines
from hms_nomad.output.printer import Color, Format, Look, Printer
from hms_nomad.plan.change import Action, Change, FieldChange, Plan

PATH = "TaskGroups.app.Tasks.app.Templates.local/app.py.EmbeddedTmpl"


def shown(before, after):
    printer = Printer(Look(Format.TEXT, False, Color.NEVER), out=io.StringIO(), err=io.StringIO())
    change = Change("job", "a-svc", Action.UPDATE, (FieldChange(PATH, before, after),), {}, 3)
    plan = Plan("a-svc", "r1", "r2", "d", (change,), unfinished=False)
    lines = list(plan_lines(printer, [plan]))
    return [line.strip() for line in lines[2:-2]]


def test_the_lines_of_a_file_that_change_are_shown():
    text = "".join(f"line {number}\n" for number in range(50))
    assert shown(text, text.replace("line 7\n", "line seven\n")) == [
        f"~ {PATH}:",
        "@@ -7,3 +7,3 @@",
        "line 6",
        "-line 7",
        "+line seven",
        "line 8",
    ]


def test_a_long_change_is_cut_and_counted():
    lines = shown("".join(f"{n}\n" for n in range(500)), "".join(f"x{n}\n" for n in range(500)))
    assert len(lines) == 62
    assert lines[-1].endswith("lines more")


def test_a_change_that_is_hidden_is_said():
    assert shown("a: 1\npassword: (hidden)\n", "a: 1\npassword: (hidden)\n")[-1] == "only what is hidden"


def test_terminal_sequences_of_a_file_stay_inert():
    assert not [line for line in shown("a\n\x1b[31mred\n", "a\nb\n") if "\x1b" in line]


def test_of_a_list_of_objects_only_what_goes_and_comes_is_shown():
    before = [{"Path": f"/{name}"} for name in "abc"]
    after = [before[0], {"Path": "/x"}, before[2], {"Path": "/y"}]
    assert shown(before, after) == [
        f"~ {PATH}:",
        '- {"Path": "/b"}',
        '+ {"Path": "/x"}',
        '+ {"Path": "/y"}',
        "2 unchanged",
    ]
