"""Who is calling: API keys, the key file, and the gate of each route."""
