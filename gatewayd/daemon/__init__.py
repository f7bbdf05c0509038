"""The root of the nursery tree: start, signals, reload, drain, and the words to the service manager."""
