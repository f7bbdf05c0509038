"""What may be written in a lock file. See `model`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gatewayd.dsl.terms import Count, PinHash, Text, about

_HASH = '"sha256:..."'


@attrs.frozen
class LockEntry:
    """One tool as it was approved. The hashes count, the rest is for people."""

    description: PinHash = attrs.field(metadata=about("Of its title and description.", _HASH))
    schema: PinHash = attrs.field(metadata=about("Of its schemas for input and output.", _HASH))
    annotations: PinHash = attrs.field(metadata=about("Of its annotations.", _HASH))
    text: Text = attrs.field(
        default=Text(""), metadata=about("The description, hidden characters spelled out.", '"Search issues."')
    )
    arguments: tuple[Text, ...] = attrs.field(default=(), metadata=about("The arguments.", '["query: string"]'))
    hints: tuple[Text, ...] = attrs.field(default=(), metadata=about("The annotations.", '["readOnlyHint = true"]'))


@attrs.frozen
class LockService:
    """The tools of one service."""

    tools: Mapping[str, LockEntry] = attrs.field(
        factory=dict[str, LockEntry], metadata=about("By the names that the service uses.")
    )


@attrs.frozen
class LockFile:
    """What tools looked like when somebody approved them, written by `gatewayd lock`."""

    version: Count = attrs.field(default=Count(0), metadata=about("Of the format.", "1", required=True))
    services: Mapping[str, LockService] = attrs.field(
        factory=dict[str, LockService], metadata=about("Services, by name.")
    )
