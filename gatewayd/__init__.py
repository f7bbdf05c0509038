"""gatewayd stands between AI clients and Model Context Protocol servers: a reverse proxy and security layer.

A TOML file is compiled into an immutable routing table (`gatewayd.dsl` -> `gatewayd.routes`); a Trio daemon
executes it, one nursery tree per connection, session and upstream.
"""

__version__ = "0.1.0"
