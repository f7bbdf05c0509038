"""Questions to the client, asked in the way of the era that the client speaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Call = types.CallToolRequestParams | types.GetPromptRequestParams
Answers = Mapping[str, dict[str, Any]]
"""Results of the client, as on the wire."""

RESULTS: dict[str, type[types.CreateMessageResult | types.ElicitResult | types.ListRootsResult]] = {
    "sampling/createMessage": types.CreateMessageResult,
    "elicitation/create": types.ElicitResult,
    "roots/list": types.ListRootsResult,
}
CAPABILITIES = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}


class Unanswered(Exception):
    """The call cannot go on before the client has answered: `result` is what to return now."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__()
        self.result = result


class Dialogue:
    """The questions of one call.

    Towards a legacy client they are requests, sent while the call waits. Towards a modern one they end the call, which
    begins anew with the answers: what was answered in earlier rounds is kept in `requestState`.
    """

    def __init__(self, context: ServerRequestContext[Any], params: Call) -> None:
        self.context = context
        self.params = params

    @property
    def modern(self) -> bool:
        """Whether the client asked in the modern era."""
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    def declared(self, capability: str) -> bool:
        """Whether the client said that it can answer such questions."""
        declared = self.context.session.client_capabilities
        return declared is not None and getattr(declared, capability) is not None

    async def ask(self, questions: dict[str, types.InputRequest], *, stateful: bool = False) -> Answers:
        """Put questions, and have the answers to all of them.

        `stateful` gives the client a `requestState` to bring back even if nothing has been answered yet.

        Raises:
            Unanswered: the client is modern and has not answered all of them yet.
            MCPError: the client refused, or (modern) has not declared the capability.
        """
        if self.modern:
            return self._answered(questions, stateful=stateful)
        answers: dict[str, dict[str, Any]] = {}
        refused: list[MCPError] = []

        async def put(key: str, question: types.InputRequest) -> None:
            metadata = ServerMessageMetadata(related_request_id=self.context.request_id)
            try:
                result = await self.context.session.send_request(question, RESULTS[question.method], metadata=metadata)
                answers[key] = wire(result)
            except MCPError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for key, question in questions.items():
                group.start_soon(put, key, question)
        if refused:
            raise refused[0]
        return answers

    def _answered(self, questions: dict[str, types.InputRequest], *, stateful: bool) -> Answers:
        for question in questions.values():
            self._require(CAPABILITIES[question.method])
        known: dict[str, dict[str, Any]] = json.loads(self.params.request_state or "{}")
        known |= {key: wire(answer) for key, answer in (self.params.input_responses or {}).items()}
        if questions.keys() <= known.keys():
            return known
        state = json.dumps(known) if known or stateful else None
        raise Unanswered(types.InputRequiredResult(input_requests=questions, request_state=state))

    def _require(self, capability: str) -> None:
        if not self.declared(capability):
            raise MCPError(
                types.MISSING_REQUIRED_CLIENT_CAPABILITY,
                f"this needs the client's capability {capability!r}",
                {"requiredCapabilities": {capability: {}}},
            )


def wire(
    result: types.CreateMessageResult | types.CreateMessageResultWithTools | types.ElicitResult | types.ListRootsResult,
) -> dict[str, Any]:
    """A result as on the wire."""
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


def elicit(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    """A question to the user."""
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    """A question to the client's model."""
    content = types.TextContent(type="text", text=prompt)
    messages = [types.SamplingMessage(role="user", content=content)]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


def roots() -> types.ListRootsRequest:
    """A question for the client's folders."""
    return types.ListRootsRequest()
