"""What the tests of the exchange start from."""

from tests.support.fixtures import gateway, server

__all__ = ["gateway", "server"]
