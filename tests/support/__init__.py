"""What tests stand on: scripted MCP servers, a raw client, and the gateway as a real process."""
