"""Sockets: the ones that listen and the streams over those that are connected."""
