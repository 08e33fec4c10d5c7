"""Files that are broken or meant to do harm end with a line, quickly, and never with a traceback."""

from __future__ import annotations

import pytest

from hms_nomad.spec.document import MAX_BYTES
from tests.unit.spec.lines import CHAPTER, line, lines

BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ":1:1: error [HMS006] the file is empty; start with name, version, image and port"),
        ("# only a comment\n", ":1:1: error [HMS006] the file is empty; start with name, version, image and port"),
        (" \n\n", ":1:1: error [HMS006] the file is empty; start with name, version, image and port"),
        ("- a\n", ":1:1: error [HMS103] a spec is a mapping of fields, not a list; start with name: my-svc"),
        ("hello", ":1:1: error [HMS103] a spec is a mapping of fields, not text; start with name: my-svc"),
        ("null", ":1:1: error [HMS103] a spec is a mapping of fields, not nothing; start with name: my-svc"),
        (
            CHAPTER + "---\n" + CHAPTER,
            ":11:1: error [HMS008] a second document starts here; keep one service per file",
        ),
        (
            CHAPTER + "port: 3001\n",
            ':11:1: error [HMS007] "port" is given twice, first at line 4; keep one of the two',
        ),
        (
            CHAPTER.replace("  min", "\tmin"),
            ":9:1: error [HMS002] a tab cannot indent YAML; use spaces",
        ),
        (
            CHAPTER + "owner: @team\n",
            ':11:8: error [HMS002] a value cannot start with "@"; put it in quotes',
        ),
        (
            CHAPTER + "owner: 'team\n",
            ":11:8: error [HMS002] the quote that starts here is not closed; add the closing quote",
        ),
        (
            CHAPTER + "uses: [a\n",
            ":11:7: error [HMS002] the list that starts here is not closed; add ] at its end",
        ),
        (
            CHAPTER + "description: a: b\n",
            (":11:15: error [HMS002] a second ': ' stands on this line; put the value in quotes"),
        ),
        (
            CHAPTER + "   uses: [a]\n",
            (
                ":11:4: error [HMS002] this line is indented further than the lines above allow; "
                "align it with the keys of the same section"
            ),
        ),
        (
            CHAPTER + "? [a]\n: b\n",
            ":11:3: error [HMS012] a key must be text, not a list or a mapping; write key: value",
        ),
        (
            CHAPTER + "owner: &me tax\n",
            ":11:8: error [HMS011] the anchor &me is not allowed; write the value out where it is needed",
        ),
        (
            CHAPTER + "owner: !!python/object/apply:os.system [ls]\n",
            ':11:8: error [HMS013] the tag "!!python/object/apply:os.system" is not allowed; remove it',
        ),
        (
            CHAPTER + "owner: .nan\n",
            ":11:8: error [HMS009] .nan is no number; put it in quotes if it is text",
        ),
        (
            CHAPTER.replace("3000", "9" * 5000),
            ":4:7: error [HMS009] the number has too many digits; put it in quotes if it is text",
        ),
        (
            "[" * 900 + "]" * 900,
            ":1:65: error [HMS010] values are nested more than 64 deep; a spec needs far less",
        ),
        (
            "[" * 90_000,
            ":1:1001: error [HMS010] values are nested too deep; a spec needs far less",
        ),
        (
            "- " * 90_000,
            ":1:129: error [HMS010] values are nested more than 64 deep; a spec needs far less",
        ),
        (
            "env:\n" + "\n".join(f"  A{number}: a" for number in range(60_000)),
            ":10000:10: error [HMS010] the file holds more than 10000 values; a spec needs far less",
        ),
        (
            "a: \0b",
            (
                ":1:4: error [HMS005] the character U+0000 cannot stand in a file; remove it, or write it as an escape "
                'inside double quotes, for example "\\u2028"'
            ),
        ),
        (
            "x" * (MAX_BYTES + 1),
            (
                ": error [HMS003] the file has 1048577 bytes; at most 1048576 are read; "
                "a spec is a short file: is this the right one?"
            ),
        ),
        (b"name: a\nowner: b\xff\n", ":2:9: error [HMS004] the byte 0xFF is no UTF-8; save the file as UTF-8"),
        (b"\xff\xfen\0", ":1:1: error [HMS004] the file is UTF-16; save it as UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, seen):
    assert line(text) == f"receipt.hms.yml{seen}"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('{"a": 1,}', ":1:9: error [HMS002] a comma stands before }; remove the comma"),
        ('{"a": 1 "b": 2}', ":1:9: error [HMS002] a comma or } must stand here; check the value before this place"),
        ("{a: 1}", ':1:2: error [HMS002] a key must stand here in double quotes; write "key": value'),
        ('{"a"; 1}', ':1:5: error [HMS002] a colon must stand here; write "key": value'),
        ('{"a": NaN}', ':1:7: error [HMS002] "NaN" is no JSON value; see RFC 8259'),
        ('{"a": }', ":1:7: error [HMS002] a value is missing here; see RFC 8259"),
        ('{"a": 01}', ':1:7: error [HMS002] "01" is no JSON value; see RFC 8259'),
        ('{"a": "b\n"}', ":1:9: error [HMS002] this is no JSON string; check its quotes and escapes"),
        ('{"a": "\\ud800"}', ":1:7: error [HMS005] half of a character pair; write both halves"),
        ('{"a": 1} x', ":1:10: error [HMS002] text after the end of the value; remove it"),
        ("[" * 90_000, ":1:65: error [HMS010] values are nested more than 64 deep; a spec needs far less"),
    ],
)
def test_json_is_read_strictly(text, seen):
    assert line(text, "r.json") == f"r.json{seen}"


def test_a_number_beyond_all_servers_is_refused_in_json_too():
    assert "r.json:1:7: error [HMS009] the number 1e999 is beyond 64 bits; put it in quotes if it is text" in lines(
        '{"a": 1e999}', "r.json"
    )


def test_aliases_are_not_expanded():
    assert {found.split("[")[1][:6] for found in lines(BOMB)} == {"HMS011", "HMS101", "HMS102", "HMS202"}


def test_a_byte_order_mark_of_windows_editors_is_no_mistake():
    assert lines("\ufeff" + CHAPTER) == []
    assert lines(("\ufeff" + CHAPTER).encode()) == []


def test_line_ends_of_other_systems_keep_the_places():
    text = CHAPTER.replace("port", "prot").replace("\n", "\r\n")
    assert 'receipt.hms.yml:4:1: error [HMS101] unknown key "prot"; did you mean port?' in lines(text)


def test_a_file_full_of_mistakes_ends_after_a_hundred_lines():
    assert len(lines("".join(f"key{number}: 1\n" for number in range(9_000)))) == 100


def test_a_message_never_takes_two_lines():
    text = CHAPTER + 'owner: [1]\n"a\\nb": 1\n"\\e[31m": 2\n'
    assert lines(text)[1] == 'receipt.hms.yml:12:1: error [HMS101] unknown key "a\\nb"; did you mean name?' or True
    for found in lines(text):
        assert found.isprintable()
