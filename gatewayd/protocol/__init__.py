"""Codecs without I/O: JSON-RPC, event streams, HTTP/1.1 and the MCP headers."""
