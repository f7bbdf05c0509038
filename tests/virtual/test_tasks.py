"""Task ids that only their holder can use."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.auth.keychain import Keychain
from gatewayd.protocol.jsontext import JsonError
from gatewayd.virtual.tasks import PURPOSE, open_task, seal_task, with_task

KEYCHAIN = Keychain([b"k" * 32])


@given(st.text(), st.text())
def test_a_task_is_found_again_by_its_holder_alone(service: str, task: str) -> None:
    token = seal_task(KEYCHAIN, service, task, "alice")
    assert open_task(KEYCHAIN, token, "alice") == (service, task)
    assert open_task(KEYCHAIN, token, "bob") is None
    assert open_task(Keychain([b"x" * 32]), token, "alice") is None


@given(st.text())
def test_what_somebody_made_up_is_no_task(token: str) -> None:
    assert open_task(KEYCHAIN, token, "alice") is None


def test_a_token_of_another_purpose_or_make_is_no_task() -> None:
    assert open_task(KEYCHAIN, KEYCHAIN.seal("cursor", msgspec.msgpack.encode(("a", "b")), "alice"), "alice") is None
    assert open_task(KEYCHAIN, KEYCHAIN.seal(PURPOSE, msgspec.msgpack.encode(7), "alice"), "alice") is None


def told(raw: bytes) -> object:
    changed = with_task(raw, lambda task: f"sealed-{task}", lambda uri: f"new-{uri}")
    return changed if changed is raw else json.loads(changed)


@pytest.mark.parametrize(
    "raw", [b"{}", b'{"content":[{"taskId":"x"}]}', b'{"taskId":7}', b'{"taskId":null,"result":{}}']
)
def test_what_tells_of_no_task_stays_as_it_is(raw: bytes) -> None:
    assert told(raw) is raw


def test_ids_are_sealed_and_the_result_of_a_task_is_one_of_a_tool() -> None:
    link = {"type": "resource_link", "uri": "u"}
    raw = json.dumps({"taskId": "t", "status": "done", "result": {"content": [link], "structuredContent": link}})
    assert told(raw.encode()) == {
        "taskId": "sealed-t",
        "status": "done",
        "result": {"content": [{**link, "uri": "new-u"}], "structuredContent": link},
    }
    assert told(b'{"taskId":"t"}') == {"taskId": "sealed-t"}


def test_a_task_that_nobody_can_read_is_an_error() -> None:
    with pytest.raises(JsonError):
        told(b'{"taskId":"t","taskId":"u"}')
    with pytest.raises(JsonError):
        told(b'{"taskId":"t","result":["uri"]}')
