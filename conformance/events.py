"""What was sent on streams, kept so that clients can resume them."""

from __future__ import annotations

from mcp.server.streamable_http import EventCallback, EventMessage
from mcp.server.streamable_http import EventStore as Store
from mcp_types import JSONRPCMessage


class EventStore(Store):
    """All events since the start: a run is short."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event, and name it by its place. A priming event has no message."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came after that event on the same stream, and return the stream; None: no such event."""
        if not (last_event_id.isdecimal() and 0 < int(last_event_id) <= len(self._events)):
            return None
        place = int(last_event_id)
        stream = self._events[place - 1][0]
        for number, (found, message) in enumerate(self._events[place:], place + 1):
            if found == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
