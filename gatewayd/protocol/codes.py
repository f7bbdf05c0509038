"""Error codes: JSON-RPC's, MCP's, and our own outside of the range that JSON-RPC reserves."""

from __future__ import annotations

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

RESOURCE_NOT_FOUND: Final = -32002
"""Legacy revisions only; 2026-07-28 says `INVALID_PARAMS`."""
URL_ELICITATION_REQUIRED: Final = -32042
"""2025-11-25 only."""
HEADER_MISMATCH: Final = -32020
"""2026-07-28: a header and the body disagree, or a required header is missing or malformed."""
MISSING_CLIENT_CAPABILITY: Final = -32021
"""2026-07-28: `data.requiredCapabilities` says which."""
UNSUPPORTED_VERSION: Final = -32022
"""2026-07-28: `data.supported` and `data.requested`."""

UPSTREAM_UNREACHABLE: Final = -31001
"""The upstream could not be reached, or died."""
UPSTREAM_TIMED_OUT: Final = -31002
REFUSED: Final = -31003
"""Refused by policy."""
RATE_LIMITED: Final = -31004
"""`data.retryAfterMs` says when to come back."""
CIRCUIT_OPEN: Final = -31005
TOO_LARGE: Final = -31006
"""A request or an answer exceeds its size limit."""
UPSTREAM_BROKE: Final = -31007
"""The upstream broke the protocol."""
NO_CREDENTIAL: Final = -31008
"""A credential for the upstream could not be obtained."""
DRAINING: Final = -31009
"""The gateway is shutting down."""
