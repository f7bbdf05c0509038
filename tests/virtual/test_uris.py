"""URIs that carry the service they belong to, and templates that URIs fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.virtual.uris import Template, carried, carrier, scheme_of

SERVICES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
URIS = st.one_of(
    st.text(min_size=1),
    st.builds("ui://{}".format, st.text(min_size=1)),
    st.builds("file:///{}".format, st.text()),
    st.builds(carried, SERVICES, st.text(min_size=1)),
).filter(lambda uri: uri != "ui://")


@given(SERVICES, URIS)
def test_what_is_carried_arrives(service: str, uri: str) -> None:
    assert carrier(carried(service, uri)) == (service, uri)


@given(SERVICES, SERVICES, URIS, URIS)
def test_no_two_uris_are_carried_as_one(one: str, other: str, uri: str, another: str) -> None:
    assert (carried(one, uri) == carried(other, another)) is ((one, uri) == (other, another))


@given(SERVICES, st.text(min_size=1))
def test_interfaces_keep_the_scheme_that_hosts_look_for(service: str, rest: str) -> None:
    assert carried(service, "ui://" + rest).startswith("ui://")


@pytest.mark.parametrize(
    "uri", ["file:///a", "gatewayd://", "gatewayd://a", "gatewayd://a/", "ui://a/b", "ui://gatewayd/a/"]
)
def test_what_carries_nothing(uri: str) -> None:
    assert carrier(uri) is None


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [("file:///a", "file"), ("FILE:///a", "file"), ("docs:a", "docs"), ("none", ""), ("{x}:a", ""), ("a{x}:b", "")],
)
def test_schemes(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///ab", False),
        ("file:///{name}", "file:///a", True),
        ("file:///{name}", "file:///", False),
        ("file:///{name}", "file:///a/b", False),
        ("file:///{name}", "http:///a", False),
        ("file:///{name}/raw", "file:///a/raw", True),
        ("file:///{name}/raw", "file:///raw", False),
        ("file:///{name}/raw", "file:///a/b/raw", False),
        ("file:///{name}/raw", "file:///a/rawer", False),
        ("a://{x}/m/{y}", "a://1/m/2", True),
        ("a://{x}/m/{y}", "a://1/n/2", False),
        ("a://{x}/m/{y}", "a:///m/2", False),
        ("file://{+path}", "file:///a/b", True),
        ("file://{+path}", "file://", True),
        ("file://{+path}/raw", "file:///a/b/raw", True),
        ("file://{/a}", "file:///x", True),
        ("file:///a{?q,p}", "file:///a?q=1&p=2", True),
        ("file:///a{?q}", "file:///a", True),
        ("file:///a{#part}", "file:///a#x", True),
        ("file:///{+path}/of/{x}", "file:///a/b/of/c", True),
        ("file:///{+path}/of/{x}", "file:///a/b/of/c/d", False),
        ("file:///{name}{?version}", "file:///a?version=1", True),
        ("file:///{name}{?version}", "file:///a", True),
        ("file:///{dir}{/file}", "file:///a/b", True),
        ("x:{a}{b}", "x:12", True),
        ("x:{+a}{b}", "x:12", True),
        ("x:{a}b", "x:b", False),
        ("x:{a}bb{c}", "x:bbb", False),
    ],
)
def test_templates(template: str, uri: str, fits: bool) -> None:
    assert Template(template).matches(uri) is fits


LITERALS = st.text("ab/-.", min_size=1, max_size=5)
VALUES = st.text("ab-.%20~", min_size=1, max_size=8)


@given(LITERALS, st.lists(st.tuples(VALUES, LITERALS), min_size=1, max_size=4), st.booleans())
def test_a_template_fits_what_it_was_expanded_to(first: str, rest: list[tuple[str, str]], ends: bool) -> None:
    parts = [(value, literal if ends or number < len(rest) - 1 else "") for number, (value, literal) in enumerate(rest)]
    template = first + "".join(f"{{v{number}}}{literal}" for number, (_, literal) in enumerate(parts))
    assert Template(template).matches(first + "".join(value + literal for value, literal in parts))


def test_matching_takes_no_time_however_long_both_are() -> None:
    template = Template("x:" + "a{v}" * 500)
    assert not template.matches("x:" + "a" * 8000 + "/")


def test_what_says_most_before_it_is_open_is_more_specific() -> None:
    assert Template("file:///docs/{a}").specific > Template("file:///{+a}").specific
