"""Sessions of legacy clients: their ids, what they own, and how they end."""
