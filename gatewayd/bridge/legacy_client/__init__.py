"""Clients with sessions over a service that has none: the gateway keeps the session."""
