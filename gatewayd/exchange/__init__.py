"""The life of one call: admitted, relayed between client and service, answered exactly once, counted."""
