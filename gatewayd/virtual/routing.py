"""Requests that one member answers: named as it names things on the way there, as clients know them on the way back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
import msgspec
import trio

from gatewayd.bridge.immediate import Immediate
from gatewayd.catalog.kinds import PROMPTS, RESOURCES, TEMPLATES, TOOLS
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.headers import PARAM_PREFIX
from gatewayd.protocol.jsonrpc import Failure, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string, text
from gatewayd.protocol.param_headers import may_annotate, mirror, read_annotations
from gatewayd.upstreams.channel import Answer
from gatewayd.virtual import search
from gatewayd.virtual.calls import Translate, carry
from gatewayd.virtual.finding import find, find_place, find_places, unknown
from gatewayd.virtual.inquiry import Inquiry, Shared
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.places import Places
from gatewayd.virtual.rewriting import attributed, mentions, rewritten_failure, rewritten_result
from gatewayd.virtual.roster import Seat
from gatewayd.virtual.tasks import TASK_ID, open_task, seal_task, with_task

T = TypeVar("T")

MOST_LOOKED_UP = 200
MOST_LETTERS = 64 * 1024
"""URIs of one answer of which it is found out whether they lead back as they are, and characters in them."""
MOST_INDEXES = 4
"""Merged lists of tools that can be searched at the same time."""
NO_COMPLETION = b'{"resultType":"complete","completion":{"values":[],"total":0,"hasMore":false}}'


class Routing:
    """Sends requests to members. Each method raises `RpcError` and `UpstreamError`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._indexes: OrderedDict[View, search.Index] = OrderedDict()
        self._searching = trio.CapacityLimiter(1)
        """A long list takes a second to be indexed: in a thread, one at a time, because they share a database."""

    async def call_tool(self, inquiry: Inquiry, name: str) -> Answer:
        """`tools/call`."""
        if inquiry.roster.virtual.discovery == "search":
            if name == search.SEARCH:
                return await self._search(inquiry)
            if name == search.CALL:
                return await self._call_found(inquiry)
        entry = await find(inquiry.roster, TOOLS, name, inquiry.audience)
        if inquiry.caller.session and may_annotate(entry.raw):
            return await self._called(inquiry, entry, inquiry.request.params.get("arguments"), {})
        return await self._named(inquiry, entry, {"name": text(entry.own)})

    async def get_prompt(self, inquiry: Inquiry, name: str) -> Answer:
        """`prompts/get`."""
        entry = await find(inquiry.roster, PROMPTS, name, inquiry.audience)
        return await self._named(inquiry, entry, {"name": text(entry.own)})

    async def read_resource(self, inquiry: Inquiry, uri: str) -> Answer:
        """`resources/read`."""
        place = await find_place(inquiry.roster, uri, inquiry.audience)
        seat = inquiry.roster.by_service[place.member.service]
        request = inquiry.changed({"uri": text(place.own)})
        return await carry(
            seat, request, inquiry.version, place.own, inquiry.caller, self._translate(inquiry, seat, place.own, uri)
        )

    async def complete(self, inquiry: Inquiry) -> Answer:
        """`completion/complete`: whose prompt or resource it is about."""
        ref = _reference(inquiry)
        seat, known = await self._referred(inquiry, ref)
        offers = seat.catalogs.of(inquiry.audience).offers
        if offers is not None and not offers.has("completions"):
            return Immediate(Result(inquiry.request.id, NO_COMPLETION))
        request = inquiry.changed({"ref": encode_members({**ref, **known})})
        return await carry(seat, request, inquiry.version, None, inquiry.caller, self._translate(inquiry, seat))

    async def task(self, inquiry: Inquiry, token: str) -> Answer:
        """`tasks/get`, `tasks/update` and `tasks/cancel`."""
        found = open_task(self._shared.keychain, token, self._shared.holder(inquiry.caller.key))
        seat = None if found is None else inquiry.roster.by_service.get(found[0])
        if found is None or seat is None:
            raise RpcError(INVALID_PARAMS, "Unknown task")
        request = inquiry.changed({TASK_ID: text(found[1])})
        return await carry(seat, request, inquiry.version, found[1], inquiry.caller, self._translate(inquiry, seat))

    async def _named(self, inquiry: Inquiry, entry: Entry, parts: dict[str, bytes]) -> Answer:
        seat = inquiry.roster.by_service[entry.member.service]
        return await carry(
            seat, inquiry.changed(parts), inquiry.version, entry.own, inquiry.caller, self._translate(inquiry, seat)
        )

    async def _search(self, inquiry: Inquiry) -> Answer:
        query, limit = _arguments(inquiry, search.asked)
        await inquiry.roster.gather(inquiry.audience, TOOLS)
        index = self._index(inquiry.roster.view(TOOLS, inquiry.audience))
        found = await trio.to_thread.run_sync(index.search, query, limit, limiter=self._searching)
        return Immediate(Result(inquiry.request.id, search.found(found)))

    def _index(self, view: View) -> search.Index:
        index = self._indexes.setdefault(view, search.Index(view))
        self._indexes.move_to_end(view)
        if len(self._indexes) > MOST_INDEXES:
            self._indexes.popitem(last=False)
        return index

    async def _call_found(self, inquiry: Inquiry) -> Answer:
        """Call the tool that the arguments name."""
        name, arguments = _arguments(inquiry, search.called)
        if name is None:
            raise unknown(TOOLS, "")
        entry = await find(inquiry.roster, TOOLS, name, inquiry.audience)
        return await self._called(inquiry, entry, arguments, {"arguments": arguments})

    async def _called(self, inquiry: Inquiry, entry: Entry, arguments: bytes | None, parts: dict[str, bytes]) -> Answer:
        """Call a tool for a client that knows nothing of header fields: they are made here (MCP 2026-07-28, HTTP)."""
        schema = members(entry.raw).get("inputSchema", b"{}")
        others = (field for field in inquiry.caller.fields if not field[0].startswith(PARAM_PREFIX))
        fields = (*others, *_arguments(inquiry, lambda _: mirror(read_annotations(schema), arguments)))
        inquiry = attrs.evolve(inquiry, caller=msgspec.structs.replace(inquiry.caller, fields=fields))
        return await self._named(inquiry, entry, {"name": text(entry.own), **parts})

    async def _referred(self, inquiry: Inquiry, ref: dict[str, bytes]) -> tuple[Seat, dict[str, bytes]]:
        """The member that a reference leads to, and what it is called there."""
        name, uri = string(ref.get("name", b"null")), string(ref.get("uri", b"null"))
        roster = inquiry.roster
        if string(ref.get("type", b"null")) == "ref/prompt" and name is not None:
            entry = await find(roster, PROMPTS, name, inquiry.audience)
            return roster.by_service[entry.member.service], {"name": text(entry.own)}
        if uri is None:
            raise RpcError(INVALID_PARAMS, "Invalid params: the reference names no prompt and no resource")
        places = await find_places(roster, inquiry.audience)
        place = places.template(uri) or await find_place(roster, uri, inquiry.audience)
        return roster.by_service[place.member.service], {"uri": text(place.own)}

    def _translate(self, inquiry: Inquiry, seat: Seat, own: str | None = None, shown: str | None = None) -> Translate:
        """What a member's answer becomes. `own` and `shown` are the one URI that the request was about."""
        service = seat.member.service
        holder = self._shared.holder(inquiry.caller.key)
        seal = partial(seal_task, self._shared.keychain, service, holder=holder)

        async def translate(message: Result | Failure) -> Result | Failure:
            if not mentions(message.result if isinstance(message, Result) else message.data):
                return message
            roster = self._shared.roster  # members may have gone since the request was sent
            await roster.look_up(inquiry.audience, seat, RESOURCES, TEMPLATES)
            exposing = Exposing(roster.places(inquiry.audience), service, own, shown)
            if isinstance(message, Failure):
                return rewritten_failure(message, exposing)
            result = with_task(message.result, seal, exposing)
            if len(roster.seats) > 1:
                result = attributed(result, service)
            return Result(message.id, rewritten_result(inquiry.request.method, result, exposing))

        return translate


class Exposing:
    """Rewrites the URIs of one answer. Of very many, the later ones carry their service, which is always right."""

    def __init__(self, places: Places, service: str, own: str | None, shown: str | None) -> None:
        """`own` is the URI that was asked for, in the words of the service, and `shown` in those of the client."""
        self._places = places
        self._service = service
        self._known = {} if own is None or shown is None else {own: shown}
        self._letters = 0

    def __call__(self, uri: str) -> str:
        """See `Rewrite`."""
        if uri not in self._known:
            self._letters += len(uri)
            hastily = len(self._known) >= MOST_LOOKED_UP or self._letters > MOST_LETTERS
            exposed = self._places.expose(self._service, uri, hastily=hastily)
            if hastily:
                return exposed
            self._known[uri] = exposed
        return self._known[uri]


def _arguments(inquiry: Inquiry, read: Callable[[bytes | None], T]) -> T:
    try:
        return read(inquiry.request.params.get("arguments"))
    except JsonError as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: arguments: {error.reason}") from None


def _reference(inquiry: Inquiry) -> dict[str, bytes]:
    try:
        return members(inquiry.request.params.get("ref", b"null"))
    except JsonError:
        raise RpcError(INVALID_PARAMS, "Invalid params: the object `ref` is missing") from None
