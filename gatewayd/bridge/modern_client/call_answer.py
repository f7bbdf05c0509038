"""The answer of a legacy call to a modern request: translated, or interrupted by what the server wants to know."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import trio

from gatewayd.bridge.asking import ASKING, declares, needed
from gatewayd.bridge.changes import CHANGES
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.live_call import LiveCall
from gatewayd.bridge.modern_client.parking import Parking
from gatewayd.bridge.modern_client.questions import Question, input_required, lacking, read_question, url_questions
from gatewayd.bridge.modern_client.upgrade import Greeting, upgraded_failure, upgraded_result
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, URL_ELICITATION_REQUIRED
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, identifier
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string
from gatewayd.protocol.versions import LOG_LEVELS, PROGRESS_TOKEN
from gatewayd.upstreams.channel import UpstreamBroke

GATHER = 0.01
"""Seconds to wait for more questions after one: servers that ask several at once get them asked at once."""
MOST_QUESTIONS = 100
"""Questions of one call that wait for the client, and messages that are gathered while waiting for more."""

_LEGACY_ONLY = frozenset({"notifications/elicitation/complete", "notifications/tasks/status"})


def ask_again(
    parking: Parking, principal: str, request: ClientRequest, questions: Mapping[str, Question], greeting: Greeting
) -> Result | Failure:
    """End a request with questions that no server waits for: with the answers the call is to be made again."""
    for question in questions.values():
        if not declares(request.capabilities, question.method, question.params):
            return lacking(request, needed(question.method, question.params))
    token = parking.park(principal, request, questions, None)
    if token is None:
        return Failure(request.id, INTERNAL_ERROR, "Too many calls wait for clients")
    return Result(request.id, input_required(questions, token, greeting))


class CallAnswer:
    """An `Answer` that yields modern messages for `request`. The call is its own until it is finished or parked."""

    def __init__(self, live: LiveCall, request: ClientRequest, principal: str, parking: Parking) -> None:
        self._live = live
        self._request = request
        self._principal = principal
        self._parking = parking
        self._ready: deque[Message] = deque()
        self._over = False
        self._parked = False
        waiting, live.questions = live.questions, {}
        for key, question in waiting.items():
            self._ask(key, question)

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        while not self._ready and not self._over:
            await self._advance()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._ready.popleft() if self._ready else None

    async def aclose(self) -> None:
        """See `Answer.aclose`. A client that leaves after it was asked has not cancelled anything."""
        if not self._parked:
            await self._live.aclose()

    async def _advance(self) -> None:
        """Come one step nearer to the next message for the client. Can be cancelled and tried again at any time."""
        live = self._live
        await live.reply()
        if not live.questions:
            self._take(await live.next())
            return
        with trio.move_on_after(GATHER):
            while live.questions and not self._over and len(self._ready) + len(live.replies) < MOST_QUESTIONS:
                self._take(await live.next())
        await live.reply()
        if live.questions and not self._over:
            self._ask_client()

    def _take(self, message: Message | None) -> None:
        try:
            match message:
                case None:
                    self._over = True
                case Result() | Failure():
                    self._over = True
                    self._ready.append(self._final(message))
                case Request():
                    self._asked(message)
                case Notification():
                    self._notified(message)
        except JsonError as error:
            raise UpstreamBroke("the service said something ambiguous", error.reason) from error

    def _final(self, message: Result | Failure) -> Result | Failure:
        """What ends the client's request. Nobody waits for answers to questions any more."""
        live, request = self._live, self._request
        live.questions.clear()
        live.replies.clear()
        if isinstance(message, Result):
            return Result(request.id, upgraded_result(request.method, message.result, live.session.greeting))
        if message.code == URL_ELICITATION_REQUIRED and live.may_ask:
            return self._elsewhere(message)
        if live.missing is not None:
            return lacking(request, live.missing)
        return upgraded_failure(message, request)

    def _elsewhere(self, failure: Failure) -> Result | Failure:
        """The server wants the user to visit some URLs first, and the call to be made again after that."""
        questions = url_questions(failure)[:MOST_QUESTIONS]
        if not questions:
            return upgraded_failure(failure, self._request)
        keyed = {f"ask-{number}": question for number, question in enumerate(questions, start=1)}
        return ask_again(self._parking, self._principal, self._request, keyed, self._live.session.greeting)

    def _ask_client(self) -> None:
        """End the client's request with the questions; the call waits for its return."""
        live = self._live
        token = self._parking.park(self._principal, self._request, live.questions, live)
        if token is None:
            self._refuse_all()
            return
        self._parked = self._over = True
        self._ready.append(Result(self._request.id, input_required(live.questions, token, live.session.greeting)))

    def _refuse_all(self) -> None:
        questions, self._live.questions = self._live.questions, {}
        for question in questions.values():
            assert question.id is not None
            self._live.replies.append(Failure(question.id, INTERNAL_ERROR, "Too many questions wait for clients"))

    def _asked(self, request: Request) -> None:
        """A request of the server: for the client, or to be answered in its place."""
        live = self._live
        if request.method == "ping":
            live.replies.append(Result(request.id, b"{}"))
        elif request.method not in ASKING or not live.may_ask:
            live.replies.append(Failure(request.id, METHOD_NOT_FOUND, "No client can be asked this now"))
        elif len(live.questions) >= MOST_QUESTIONS:
            live.replies.append(Failure(request.id, INTERNAL_ERROR, "Too many questions wait for the client"))
        else:
            try:
                question = read_question(request)
            except JsonError as error:
                live.replies.append(Failure(request.id, INVALID_PARAMS, f"Invalid params: {error.reason}"))
                return
            live.asked += 1
            live.asked_at = trio.current_time()
            self._ask(f"ask-{live.asked}", question)

    def _ask(self, key: str, question: Question) -> None:
        """Ask the client, if this request of its says that it can be asked."""
        if declares(self._request.capabilities, question.method, question.params):
            self._live.questions[key] = question
            return
        assert question.id is not None
        self._live.missing = needed(question.method, question.params)
        self._live.replies.append(Failure(question.id, METHOD_NOT_FOUND, "The client does not support this"))

    def _notified(self, message: Notification) -> None:
        match message.method:
            case "notifications/progress":
                self._progress(message)
            case "notifications/message":
                if self._wants(message):
                    self._ready.append(message)
            case "notifications/cancelled":
                self._withdrawn(message)
            case method if method in CHANGES:
                self._live.session.fan_out(message)
            case method if method not in _LEGACY_ONLY:
                self._ready.append(message)
            case _:
                pass

    def _progress(self, message: Notification) -> None:
        """Progress is told under the token of the request that waits now, whichever request began the call."""
        params = members(message.params or b"{}")
        if self._request.progress and params.get(PROGRESS_TOKEN) == b"%d" % self._live.id:
            token = b"%d" % self._request.id
            self._ready.append(Notification(message.method, encode_members({**params, PROGRESS_TOKEN: token})))

    def _wants(self, message: Notification) -> bool:
        level = string(members(message.params or b"{}").get("level", b"null"))
        wanted = self._request.log_level
        return wanted is not None and level in LOG_LEVELS and LOG_LEVELS.index(level) >= LOG_LEVELS.index(wanted)

    def _withdrawn(self, message: Notification) -> None:
        """The server does not want to know any more."""
        ident = identifier(members(message.params or b"{}").get("requestId", b"null"))
        for key, question in list(self._live.questions.items()):
            if question.id == ident and type(question.id) is type(ident):
                del self._live.questions[key]
