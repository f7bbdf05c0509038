"""How much the gateway costs: run from the root of the repository, as `python -m bench.run`."""
