"""The official conformance suite, run through the gateway: `python -m conformance.run` in the repository."""
