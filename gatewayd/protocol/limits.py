"""Named bounds of the codecs, each with its reason.

Sizes of whole messages are configuration (see `gatewayd.routes.table`); what stands here is what no
deployment has a reason to change.
"""

from __future__ import annotations

from typing import Final

JSON_DEPTH: Final = 128
"""Levels of arrays and objects in a JSON text, which RFC 8259 section 9 lets us limit. Tool schemas need 30.

Many parsers behind us recurse and die a little below 1000.
"""

ID_DIGITS: Final = 64
"""Digits of an integer id or error code. Far beyond any counter, far below what makes conversion slow."""

ID_BYTES: Final = 1024
"""UTF-8 bytes of a string id. Ids are kept while a call is pending, so they are part of its memory."""

METHOD_CHARS: Final = 256
"""Characters of a method name. The longest one that MCP defines has 37; extensions add a prefix."""

EVENT_BYTES: Final = 16 * 1024 * 1024
"""Default for one server-sent event: the default size limit of one answer of a service."""

LINE_BYTES: Final = 16 * 1024 * 1024
"""Default for one line of a stdio server: one line is one message, so the same limit."""

RETRY_DIGITS: Final = 10
"""Digits of an SSE `retry` value in milliseconds: ten digits are more than a hundred days already."""

BATCH_MESSAGES: Final = 100
"""Messages of one batch. Only MCP 2025-03-26 has batches, and its clients hardly ever send any."""
