"""Where things stand, for paths that are written and for those that are not."""

from __future__ import annotations

from pathlib import Path

from gatewayd.dsl.diagnostics import Place
from gatewayd.dsl.document import Document, parse
from gatewayd.dsl.source import Span, make_source


def test_what_is_not_written_stands_at_the_nearest_table_or_the_top() -> None:
    document = parse(make_source(Path("x.toml"), "[a]\nb = 1\n"))
    assert isinstance(document, Document)
    assert document.value(("a", "b", "c")) == Place(document.source, Span(8, 9))
    assert document.table(("a", "c")) == Place(document.source, Span(0, 3))
    assert document.key(("x", "y")) == Place(document.source, Span(0, 0))
