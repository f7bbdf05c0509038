"""What the tests of the fronts start from."""

from tests.support.fixtures import gateway, server

__all__ = ["gateway", "server"]
