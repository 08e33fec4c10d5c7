"""Fields that are right alone and wrong together, and values that a server or a shell would misread."""

from __future__ import annotations

import pytest

from hms_nomad.spec.re2 import regex_fault
from tests.unit.spec.lines import CHAPTER, lines

BASE = "name: receipt-svc\nversion: 1.0.0\nport: 3000\n"
IMAGE = "image: x:1\n"


@pytest.mark.parametrize(
    ("added", "seen"),
    [
        (
            "scaling: {min: 3, max: 2}",
            ":5:16: error [HMS201] scaling.min 3 is above scaling.max 2; raise scaling.max or lower scaling.min",
        ),
        (
            "scaling: {min: 3}",
            (
                ":5:16: error [HMS201] scaling.min 3 is above scaling.max 1 (the default); "
                "raise scaling.max or lower scaling.min"
            ),
        ),
        (
            "command: [a]",
            (
                ":5:1: error [HMS202] image and command are both given; keep one of them; "
                "arguments for the image go to args"
            ),
        ),
        (
            "health: {timeout: 3s}",
            (
                ":5:19: error [HMS203] health.timeout 3s is not shorter than health.interval 2s; "
                "make health.timeout shorter than health.interval"
            ),
        ),
        (
            "scaling: {cpu: {low: 70}}",
            (
                ":5:22: error [HMS204] scaling.cpu.low 70 is not below scaling.cpu.high 70; "
                "keep a distance between the two, for example low: 30 and high: 70"
            ),
        ),
        (
            "rollout: {steps: [1, 50, 50, 100]}",
            (
                ":5:26: error [HMS205] the step 50 does not grow from 50; "
                "write shares that grow and end with 100, for example [1, 10, 50, 100]"
            ),
        ),
        (
            "rollout: {steps: [1, 10]}",
            (
                ":5:22: error [HMS205] the last step is 10, not 100; "
                "write shares that grow and end with 100, for example [1, 10, 50, 100]"
            ),
        ),
        (
            "rollout: {steps: []}",
            (
                ":5:18: error [HMS205] rollout.steps is empty; "
                "write shares that grow and end with 100, for example [1, 10, 50, 100]"
            ),
        ),
        (
            "rollout: {steps: [0.001, 100]}",
            (
                ":5:19: error [HMS205] the step 0.001 is finer than 0.01 percent; "
                "write shares that grow and end with 100, for example [1, 10, 50, 100]"
            ),
        ),
        (
            "routes: [{path: /a}, {path: /a, methods: [GET]}]",
            ":5:22: error [HMS206] this route repeats routes[0] for GET; keep one of them",
        ),
        (
            "uses: [receipt-svc]",
            ":5:8: error [HMS207] uses contains receipt-svc, the service itself; remove it",
        ),
        ("uses: [a, b, a]", ":5:14: error [HMS208] uses names a twice; remove the second one"),
        (
            "routes: [{path: /, methods: [GET, GET]}]",
            ":5:35: error [HMS208] routes[0].methods names GET twice; remove the second one",
        ),
        (
            "health: {kind: command}",
            ":5:16: error [HMS209] health.kind is command, but health.command is missing; add command: [program]",
        ),
        (
            "health: {kind: grpc, path: /x}",
            ":5:22: error [HMS209] health.path has no meaning for kind grpc; write kind: http, or remove path",
        ),
        (
            "protocol: tcp\nroutes: [{path: /}]",
            (
                ":6:1: error [HMS210] routes need HTTP, but protocol is tcp; "
                "write protocol: http (or http2, grpc), or remove the setting"
            ),
        ),
        (
            "resources: {memory: 256, memory_max: 128}",
            (
                ":5:38: error [HMS211] resources.memory_max 128 is below resources.memory 256; "
                "raise memory_max or remove it"
            ),
        ),
        (
            "tasks: {ship: {hook: sidecar, image: a/b:1, resources: {memory_max: 64}}}",
            (
                ":5:69: error [HMS211] tasks.ship.resources.memory_max 64 is below tasks.ship.resources.memory 128; "
                "raise memory_max or remove it"
            ),
        ),
        (
            f"uses: [{', '.join(f's{number}' for number in range(255))}]",
            (
                ":5:7: error [HMS212] uses names 255 services; at most 254 are possible; "
                "put a service in between that calls some of them"
            ),
        ),
        ('args: ["a\\0b"]', ":5:8: error [HMS220] args[0] contains the character U+0000; remove it"),
        ('owner: "a\\nb"', ":5:8: error [HMS220] owner contains the character U+000A; remove it"),
        ('env: {A: "\\0"}', ":5:10: error [HMS220] env.A contains the character U+0000; remove it"),
        (
            "env: {A-B: x}",
            (
                ':5:7: error [HMS223] "A-B" is no name of an environment variable; '
                "use letters, digits and underscores, a digit not first"
            ),
        ),
        ("env: {PORT: x}", ":5:7: error [HMS224] PORT is set from port; remove it and change port"),
        ("env: {NOMAD_TOKEN: x}", ":5:7: error [HMS224] NOMAD_TOKEN is set by the platform; choose another name"),
        (
            f"env: {{A: {'x' * 131072}}}",
            ":5:10: error [HMS225] env.A takes 131075 bytes; at most 131072 are possible; put the content into a file",
        ),
        (
            "routes: [{path: '/a(', match: regex}]",
            (
                ":5:17: error [HMS226] routes[0].path is no regular expression: missing ), unterminated subpattern; "
                "use the syntax of RE2, without lookarounds and backreferences"
            ),
        ),
        (
            "routes: [{path: '/(?!b)', match: regex}]",
            (
                ":5:17: error [HMS226] routes[0].path uses a lookaround; "
                "use the syntax of RE2, without lookarounds and backreferences"
            ),
        ),
        (
            "routes: [{path: '/../etc'}]",
            (
                ':5:17: error [HMS227] routes[0].path "/../etc" can never match; '
                "write the path alone, without spaces, ? and #, in its shortest form"
            ),
        ),
        (
            "health: {path: '/%{if}'}",
            (
                ':5:16: error [HMS227] health.path "/%{if}" can never match; '
                "write the path alone, without spaces, ? and #, in its shortest form"
            ),
        ),
        (
            "mesh: {timeout: 0s}",
            ':5:17: error [HMS228] mesh.timeout is "0s"; write a duration above 0 and at most 720h',
        ),
        (
            "rollout: {deadline: 99999999999999999999h}",
            (
                ':5:21: error [HMS228] rollout.deadline is "99999999999999999999h"; '
                "write a duration above 0 and at most 720h"
            ),
        ),
        (
            "mesh: {retry_on: [sometimes]}",
            (
                ':5:19: error [HMS229] mesh.retry_on does not know "sometimes"; known are 5xx, gateway-error, reset, '
                "connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, cancelled, deadline-exceeded, "
                "internal, resource-exhausted, unavailable"
            ),
        ),
        (
            "links: {Runbook: 'javascript:alert(1)'}",
            ':5:18: error [HMS230] links.Runbook is "javascript:alert(1)"; write https://...',
        ),
        (
            "nomad: {job: {Id: other}}",
            (
                ":5:15: error [HMS231] nomad.job.Id is set from the spec; "
                "use the keys job, group and task with other fields of the Nomad API"
            ),
        ),
    ],
)
def test_a_contradiction_is_one_line_at_the_value_that_causes_it(added, seen):
    assert lines(BASE + IMAGE + added + "\n", "s.yml") == [f"s.yml{seen}"]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("ghcr.io/gov/receipt: 1", None),
        ("'a b'", "contains a space"),
        ("''", "is empty"),
        ("'receipt:'", "has an empty tag"),
        ("Receipt:1", "has upper-case letters in its name"),
        ("https://ghcr.io/a:1", "is a URL, not a reference"),
        ("a@sha256:123", "has a bad digest"),
        ("a:1@sha256:" + "g" * 64, "has a bad digest"),
        ("a/../b:1", "is no image reference"),
    ],
)
def test_an_image_that_no_engine_would_take_is_refused_before_the_deploy(image, reason):
    found = lines(BASE + f"image: {image}\n", "s.yml")
    assert len(found) == 1
    if reason:
        assert reason in found[0]
        assert "[HMS222]" in found[0]


@pytest.mark.parametrize(
    "image",
    [
        "receipt",
        "receipt:1.0",
        "localhost:5000/a/b_c:v1",
        "ghcr.io/gov/receipt@sha256:" + "0" * 64,
        "REGISTRY.gov/a:1@sha256:" + "a" * 64,
    ],
)
def test_every_form_of_image_reference_is_taken(image):
    assert lines(BASE + f"image: {image}\n") == []


def test_a_value_that_starts_like_an_option_is_refused():
    assert lines(CHAPTER.replace("version: 1.0.0", "version: -rf")) == [
        'receipt.hms.yml:2:10: error [HMS221] version "-rf" starts with a dash; remove the leading dash'
    ]


@pytest.mark.parametrize("name", ["../x", "-rf", "a" * 300, '"a\\nb"', "a.b", "a-", "1a", "ä"])
def test_a_hostile_name_is_refused(name):
    found = lines(CHAPTER.replace("name: receipt-svc", f"name: {name}"))
    assert len(found) == 1
    assert found[0].startswith("receipt.hms.yml:1:7: error [HMS10")
    assert len(found[0]) < 400


def test_scripts_and_descriptions_may_have_several_lines():
    assert lines(BASE + IMAGE + 'args: ["a\\nb"]\ndescription: |\n  one\n  two\n') == []


def test_a_health_check_that_is_slow_by_its_interval_stands_at_the_interval():
    assert lines(BASE + IMAGE + "health: {interval: 1s}\n", "s.yml")[0].startswith("s.yml:5:20: error [HMS203]")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (r"/\p{L}+", ""),
        (r"/(?<year>\d{4})\z", ""),
        (r"/\Qa.b\E", ""),
        (r"/(?i)receipt", ""),
        (r"/(a)\1", "uses a backreference"),
        (r"/(?<=a)b", "uses a lookaround"),
        (r"/a++", "uses a possessive quantifier"),
        (r"/(?>a)", "uses a group that RE2 does not know"),
        (r"/a{2000}", "repeats more than 1000 times"),
        (r"/[a", "is no regular expression: unterminated character set"),
    ],
)
def test_regular_expressions_are_those_of_re2(pattern, fault):
    assert regex_fault(pattern) == fault
