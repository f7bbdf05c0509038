"""The admin plane: health, metrics and the live tree, on a listener of its own, never in a call's way."""
