"""Clients without sessions over a service that has nothing else: their requests share sessions of the gateway's own."""
