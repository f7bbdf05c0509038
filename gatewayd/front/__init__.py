"""Accepts clients, and turns what they send into calls of the exchange."""
