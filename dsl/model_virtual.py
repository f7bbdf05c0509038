"""What may be written about single tools, prompts and resources: the part of the grammar that shapes. See `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from gatewayd.dsl.terms import Priority, ResourceName, ToolName, about

_ONLY = "Patterns of what is shown; `*` stands for any run of characters. Default: everything."
_HIDE = "Patterns of what is not shown and cannot be used, whatever `only` says."
_RENAME = "What clients see in the place of a name."
_OVERRIDE = "What clients are told in the place of what the server says, by name (before `rename`)."
_TITLE = "The name for people."
_DESCRIPTION = "What models and people read about it."


@attrs.frozen
class ToolAnnotations:
    """What clients are told about how a tool behaves. What is not written stays as the server has it."""

    title: str | None = attrs.field(default=None, metadata=about("The title in its older place.", '"Search"'))
    readOnlyHint: bool | None = attrs.field(default=None, metadata=about("It changes nothing.", "true"))
    destructiveHint: bool | None = attrs.field(default=None, metadata=about("It may destroy something.", "false"))
    idempotentHint: bool | None = attrs.field(
        default=None, metadata=about("A second call with the same arguments changes nothing more.", "true")
    )
    openWorldHint: bool | None = attrs.field(
        default=None, metadata=about("It deals with more than the server's own affairs.", "false")
    )


@attrs.frozen
class ResourceAnnotations:
    """What clients are told about the use of a resource. What is not written stays as the server has it."""

    audience: tuple[Literal["user", "assistant"], ...] | None = attrs.field(
        default=None, metadata=about("Whom it is for.", '["user"]')
    )
    priority: Priority | None = attrs.field(default=None, metadata=about("How important it is, 0 to 1.", "0.5"))
    lastModified: str | None = attrs.field(
        default=None, metadata=about("When it was changed last, as ISO 8601 has it.", '"2026-01-31T12:00:00Z"')
    )


@attrs.frozen
class ToolOverride:
    """What clients are told of one tool. What is not written stays as the server has it."""

    title: str | None = attrs.field(default=None, metadata=about(_TITLE, '"Search issues"'))
    description: str | None = attrs.field(default=None, metadata=about(_DESCRIPTION, '"Find issues by words."'))
    annotations: ToolAnnotations = attrs.field(
        default=ToolAnnotations(), metadata=about("How it behaves.", "{ readOnlyHint = true }")
    )


@attrs.frozen
class PromptOverride:
    """What clients are told of one prompt. What is not written stays as the server has it."""

    title: str | None = attrs.field(default=None, metadata=about(_TITLE, '"Review"'))
    description: str | None = attrs.field(default=None, metadata=about(_DESCRIPTION, '"Review a change."'))


@attrs.frozen
class ResourceOverride:
    """What clients are told of one resource or template. What is not written stays as the server has it."""

    title: str | None = attrs.field(default=None, metadata=about(_TITLE, '"Handbook"'))
    description: str | None = attrs.field(default=None, metadata=about(_DESCRIPTION, '"How we work."'))
    annotations: ResourceAnnotations = attrs.field(
        default=ResourceAnnotations(), metadata=about("How it is used.", '{ audience = ["user"] }')
    )


@attrs.frozen
class ToolShape:
    """Which tools are shown, and how.

    In a service the names are the server's own; in a route they are those that clients would see without this table,
    so with the prefix in a route with several services.
    """

    only: tuple[str, ...] | None = attrs.field(default=None, metadata=about(_ONLY, '["search_*", "get_issue"]'))
    hide: tuple[str, ...] = attrs.field(default=(), metadata=about(_HIDE, '["delete_*"]'))
    rename: Mapping[str, ToolName] = attrs.field(
        factory=dict[str, ToolName], metadata=about(_RENAME, '{ search_v2 = "search" }')
    )
    override: Mapping[str, ToolOverride] = attrs.field(
        factory=dict[str, ToolOverride], metadata=about(_OVERRIDE, '{ search_v2 = { title = "Search" } }')
    )


@attrs.frozen
class PromptShape:
    """Which prompts are shown, and how. Names as in `tools`."""

    only: tuple[str, ...] | None = attrs.field(default=None, metadata=about(_ONLY, '["review_*"]'))
    hide: tuple[str, ...] = attrs.field(default=(), metadata=about(_HIDE, '["draft_*"]'))
    rename: Mapping[str, ToolName] = attrs.field(
        factory=dict[str, ToolName], metadata=about(_RENAME, '{ review_v2 = "review" }')
    )
    override: Mapping[str, PromptOverride] = attrs.field(
        factory=dict[str, PromptOverride], metadata=about(_OVERRIDE, '{ review_v2 = { title = "Review" } }')
    )


@attrs.frozen
class ResourceShape:
    """Which resources and resource templates are shown, and how. Their names are URIs and URI templates."""

    only: tuple[str, ...] | None = attrs.field(default=None, metadata=about(_ONLY, '["file:///srv/docs/*"]'))
    hide: tuple[str, ...] = attrs.field(default=(), metadata=about(_HIDE, '["*.key"]'))
    rename: Mapping[str, ResourceName] = attrs.field(
        factory=dict[str, ResourceName], metadata=about(_RENAME, '{ "file:///srv/a.md" = "docs:a" }')
    )
    override: Mapping[str, ResourceOverride] = attrs.field(
        factory=dict[str, ResourceOverride],
        metadata=about(_OVERRIDE, '{ "file:///srv/a.md" = { title = "Handbook" } }'),
    )
