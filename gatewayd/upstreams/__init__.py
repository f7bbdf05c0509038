"""The MCP servers behind us: connections over HTTP, and processes over standard streams."""
