"""Answers that are made to do harm become errors of a server, with nothing in them that a terminal obeys."""

from __future__ import annotations

from hms_nomad.clients.classify import Request, classify

ASKED = Request("nomad", "read job x", "https://nomad:4646", write=False)


def test_a_redirect_names_its_target_without_commands():
    text = str(classify(ASKED, 302, "", {"Location": "https://a\x1b]0;x\x07\u202e/b" + "c" * 5000}))
    assert "sends callers on to https://a]0;x/b" in text
    assert text.isprintable()
    assert len(text) < 3000


def test_a_reason_that_is_nested_too_deeply_is_quoted_as_it_stands():
    error = classify(ASKED, 400, '{"errors":' + "[" * 100_000, {})
    assert error.status == 400
    assert len(str(error)) < 3000
