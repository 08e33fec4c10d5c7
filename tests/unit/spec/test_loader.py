"""A file becomes a spec, or one plain line for each mistake, at its place."""

from __future__ import annotations

import json

import pytest

from hms_nomad.spec.diagnostics import SpecError
from hms_nomad.spec.loader import load_spec
from tests.unit.spec.lines import CHAPTER, FILE, line, lines


def test_the_chapters_file_loads_as_it_stands():
    spec = load_spec(CHAPTER, FILE)
    assert (spec.name, spec.version, spec.port) == ("receipt-svc", "1.0.0", 3000)
    assert (spec.scaling.min, spec.scaling.max) == (2, 10)
    assert [(route.path, route.methods) for route in spec.routes] == [("/receipt", ("POST",))]


def test_json_says_the_same_as_yaml():
    data = {
        "name": "receipt-svc",
        "version": "1.0.0",
        "image": "ghcr.io/gov/receipt:1.0",
        "port": 3000,
        "routes": [{"path": "/receipt", "methods": ["POST"]}],
        "scaling": {"min": 2, "max": 10},
    }
    for text in (json.dumps(data), json.dumps(data, indent=2), json.dumps(data, indent="\t")):
        assert load_spec(text, "receipt.hms.json") == load_spec(CHAPTER, FILE)
        assert load_spec(text, "-") == load_spec(CHAPTER, FILE)


def test_a_mistake_stands_at_the_same_place_in_json():
    text = '{"name": "receipt-svc", "version": 1.20, "image": "x:1", "prot": 3000, "port": "3000"}'
    assert lines(text, "r.json") == [
        'r.json:1:36: error [HMS103] version must be text, not a number; write "1.20"',
        'r.json:1:58: error [HMS101] unknown key "prot"; did you mean port?',
        "r.json:1:80: error [HMS103] port must be a whole number, not text; write 3000 without quotes",
    ]


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("version: 1.20", 'receipt.hms.yml:2:10: error [HMS103] version must be text, not a number; write "1.20"'),
        ("version: 2", 'receipt.hms.yml:2:10: error [HMS103] version must be text, not a number; write "2"'),
        (
            "version: true",
            'receipt.hms.yml:2:10: error [HMS103] version must be text, not the boolean true; write "true"',
        ),
        ("version:", "receipt.hms.yml:2:9: error [HMS103] version is empty; give it a value (text) or remove the key"),
    ],
)
def test_a_version_that_yaml_would_change_is_refused(written, seen):
    assert line(CHAPTER.replace("version: 1.0.0", written)) == seen


@pytest.mark.parametrize(
    "written", ["1.0.0", "017", "12:30", "0x1F", "2026-01-01", "yes", "NO", "1_000", "v1", "1.2.3e4"]
)
def test_text_that_is_no_plain_number_stays_as_it_is_written(written):
    assert load_spec(CHAPTER.replace("version: 1.0.0", f"version: {written}"), FILE).version == written


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (("port:", "prot:"), ':4:1: error [HMS101] unknown key "prot"; did you mean port?'),
        (
            ("port: 3000", "port: 3000\nreplicas: 3"),
            ':5:1: error [HMS101] unknown key "replicas"; did you mean scaling.min?',
        ),
        (("port: 3000", "port: 3000\nmax: 3"), ':5:1: error [HMS101] unknown key "max"; it belongs to scaling'),
        (("  max: 10", "  mx: 10"), ':10:3: error [HMS101] unknown key "mx" in scaling; did you mean max?'),
        (("[POST]", "[post]"), ':7:15: error [HMS104] routes[0].methods[0] cannot be "post"; did you mean POST?'),
        (
            ("[POST]", "POST"),
            (
                ":7:14: error [HMS103] routes[0].methods must be a list of any of GET, HEAD, POST, PUT, "
                "PATCH, DELETE, OPTIONS, CONNECT, TRACE, not text; write [POST]"
            ),
        ),
        (
            ("/receipt\n", "receipt\n"),
            ':6:11: error [HMS106] routes[0].path "receipt" must start with a slash; write "/receipt"',
        ),
        (("port: 3000", "port: 70000"), ":4:7: error [HMS105] port is 70000; it must be at most 65535"),
        (
            ("port: 3000", "port: 3000.5"),
            ":4:7: error [HMS103] port must be a whole number, not the fraction 3000.5; write 3000",
        ),
        (
            ("name: receipt-svc", "name: Receipt_Svc"),
            (
                ':1:7: error [HMS106] name "Receipt_Svc" is no DNS label; use '
                "lower-case letters, digits and hyphens, a letter first, at most 63 characters, for example receipt-svc"
            ),
        ),
        (
            ("  max: 10", "  max: 10\n  every: 30"),
            ":11:10: error [HMS103] scaling.every must be a duration, not a number; write 30s",
        ),
        (
            ("  max: 10", "  max: 10\n  every: 1 min"),
            (
                ':11:10: error [HMS106] scaling.every "1 min" is no duration; write a '
                "number with ms, s, m or h, for example 500ms, 30s, 5m or 2h"
            ),
        ),
        (
            ("  max: 10", "  max: many"),
            ":10:8: error [HMS103] scaling.max must be a whole number, not text; write digits",
        ),
        (
            ("port: 3000", "port: 3000\nresources: {memory: 2GB}"),
            (
                ":5:21: error [HMS103] resources.memory must be a whole number, not text; "
                "write 2048, in MiB without a unit"
            ),
        ),
        (
            ("port: 3000", "port: 3000\nhealth: /health"),
            ":5:9: error [HMS103] health must be a section, not text; write {path: /health}",
        ),
        (
            ("    methods: [POST]", "    public: yes"),
            (
                ":7:13: error [HMS103] routes[0].public must be true or false, not text; "
                "write true or false, without quotes"
            ),
        ),
        (("routes:\n  - path", "routes:\n    path"), None),
    ],
)
def test_a_typical_mistake_is_one_line_that_says_what_would_be_right(change, seen):
    found = lines(CHAPTER.replace(*change))
    if seen is not None:
        assert f"receipt.hms.yml{seen}" in found


def test_a_misspelt_key_is_one_mistake_and_not_a_missing_field_too():
    assert lines(CHAPTER.replace("port:", "prot:")) == [
        'receipt.hms.yml:4:1: error [HMS101] unknown key "prot"; did you mean port?'
    ]


def test_a_count_in_the_place_of_its_bounds_is_told_how_to_write_them():
    assert line(CHAPTER[: CHAPTER.index("scaling:")] + "scaling: 3\n") == (
        "receipt.hms.yml:8:10: error [HMS103] scaling must be a section, not a number; write {min: 3, max: 3}"
    )


def test_a_missing_field_stands_at_the_section_that_misses_it():
    text = CHAPTER.replace("port: 3000\n", "") + "probes:\n  gve: {timeout: 3s}\n"
    assert lines(text) == [
        "receipt.hms.yml:1:1: error [HMS102] port is missing; add port: 3000",
        "receipt.hms.yml:11:8: error [HMS102] path is missing in probes.gve; add path: /gve",
    ]


def test_all_mistakes_are_listed_at_once_in_the_order_of_the_file_contradictions_too():
    text = CHAPTER.replace("1.0.0", "1.0").replace("min: 2", "min: 20") + "owner: [a]\nowner: b\nuses: [receipt-svc]\n"
    assert [found.split(": error ")[0] + found.split("error ")[1][:8] for found in lines(text)] == [
        "receipt.hms.yml:2:10[HMS103]",
        "receipt.hms.yml:9:8[HMS201]",
        "receipt.hms.yml:12:1[HMS007]",
        "receipt.hms.yml:13:8[HMS207]",
    ]


def test_a_broken_field_is_not_blamed_twice():
    assert line(CHAPTER.replace("image: ghcr.io/gov/receipt:1.0", "image: 3")).count("HMS103") == 1


def test_values_of_environment_variables_are_never_repeated():
    text = CHAPTER + "env:\n  PIN: 48151623\n"
    assert line(text) == "receipt.hms.yml:12:8: error [HMS103] env.PIN must be text, not a number; put it in quotes"


def test_the_error_carries_every_finding():
    with pytest.raises(SpecError) as caught:
        load_spec(CHAPTER.replace("port: 3000", "prot: 3000\nowner: [a]"), FILE)
    assert [found.code for found in caught.value.diagnostics] == ["HMS101", "HMS103"]
    assert str(caught.value).splitlines() == [str(found) for found in caught.value.diagnostics]
