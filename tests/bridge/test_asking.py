"""Whom a server may ask for what."""

from __future__ import annotations

import pytest

from gatewayd.bridge.asking import ELICIT, FORM, ROOTS, SAMPLE, declares, mode, needed
from gatewayd.protocol.jsontext import JsonError


@pytest.mark.parametrize(
    ("method", "params", "wanted"),
    [
        (ELICIT, None, b'{"elicitation":{"form":{}}}'),
        (ELICIT, b'{"mode":"form"}', b'{"elicitation":{"form":{}}}'),
        (ELICIT, b'{"mode":"url","url":"https://a"}', b'{"elicitation":{"url":{}}}'),
        (ELICIT, b'{"mode":7}', b'{"elicitation":{"form":{}}}'),
        (SAMPLE, None, b'{"sampling":{}}'),
        (SAMPLE, b'{"messages":[]}', b'{"sampling":{}}'),
        (SAMPLE, b'{"tools":[]}', b'{"sampling":{"tools":{}}}'),
        (SAMPLE, b'{"toolChoice":{"mode":"auto"}}', b'{"sampling":{"tools":{}}}'),
        (ROOTS, None, b'{"roots":{}}'),
    ],
)
def test_the_capability_that_a_question_takes(method: str, params: bytes | None, wanted: bytes) -> None:
    assert needed(method, params) == wanted
    assert declares(wanted, method, params) is not (params == b'{"mode":7}')


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "may"),
    [
        (b'{"elicitation":{}}', ELICIT, None, True),
        (b'{"elicitation":{}}', ELICIT, b'{"mode":"url"}', False),
        (b'{"elicitation":{"url":{}}}', ELICIT, None, False),
        (b'{"elicitation":{"form":{},"url":{}}}', ELICIT, None, True),
        (b'{"elicitation":{"form":{},"url":{}}}', ELICIT, b'{"mode":"url"}', True),
        (b'{"elicitation":{}}', ELICIT, b'{"mode":"dream"}', False),
        (b'{"elicitation":{"vendor":{}}}', ELICIT, None, True),
        (b'{"elicitation":null}', ELICIT, None, False),
        (b'{"elicitation":{}}', ELICIT, b'{"mode":"form","mode":"url"}', False),
        (b"{}", ELICIT, None, False),
        (b"[]", ELICIT, None, False),
        (b'{"sampling":{}}', SAMPLE, b'{"tools":[{}]}', False),
        (b'{"sampling":{"context":{}}}', SAMPLE, b"{}", True),
        (b'{"sampling":{}}', ROOTS, None, False),
        (b'{"roots":{"listChanged":true}}', ROOTS, None, True),
        (b'{"roots":{}}', "tools/call", None, False),
    ],
)
def test_who_may_be_asked(capabilities: bytes, method: str, params: bytes | None, may: bool) -> None:
    assert declares(capabilities, method, params) is may


def test_an_elicitation_is_a_form_unless_it_says_otherwise() -> None:
    assert mode(None) == FORM
    assert mode(b'{"message":"hi"}') == FORM
    assert mode(b'{"mode":"url"}') == "url"
    with pytest.raises(JsonError):
        mode(b'{"mode":null}')
