"""TOML values -> values of the model, one at a time. Each function raises `Fault` for what it refuses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import cast

from gatewayd.dsl import addresses, literals
from gatewayd.dsl.diagnostics import Code, Fault, quote
from gatewayd.dsl.later import LATER_CREDENTIALS
from gatewayd.dsl.masking import may_hold_secret
from gatewayd.dsl.suggest import did_you_mean, one_of
from gatewayd.dsl.terms import (
    AuthNames,
    Command,
    Count,
    Duration,
    EnvValue,
    KeyHash,
    Origin,
    PinHash,
    Prefix,
    Priority,
    ResourceName,
    SecretKind,
    SecretRef,
    Size,
    Text,
    ToolName,
    TrustedHost,
)

_TYPES: dict[type[object], str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    dict: "a table",
    list: "an array",
}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")  # MCP 2025-11-25, and `/` of SEP-986
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.@:-]{1,255}")
_REFERENCE_FORMS = '`{ env = "NAME" }`, `{ file = "path" }` or `{ credential = "name" }`'


def wrong_type(expected: str, raw: object, hint: str | None = None) -> Fault:
    """A fault that says what was found without showing it: it may be a secret."""
    found = _TYPES.get(type(raw), "a date or time")
    return Fault(Code.WRONG_TYPE, f"expected {expected}, found {found}", hint)


def string(raw: object, _: object = None) -> str:
    """A string that is neither empty nor has control characters."""
    if not isinstance(raw, str):
        raise wrong_type("a string", raw)
    if not raw:
        raise Fault(Code.WRONG_TYPE, "expected a string with something in it, found an empty one")
    if any(ord(c) < 32 or ord(c) == 127 for c in raw):
        raise Fault(Code.WRONG_TYPE, "a string here has no control characters")
    return raw


def boolean(raw: object, _: object = None) -> bool:
    """`true` or `false`."""
    if isinstance(raw, bool):
        return raw
    word = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
    guess = word.get(raw.lower()) if isinstance(raw, str) else None
    raise wrong_type("`true` or `false`", raw, f"did you mean `{guess}`, without quotes?" if guess else None)


def count(raw: object, _: object = None) -> Count:
    """An integer; its range is the key's business."""
    if isinstance(raw, bool) or not isinstance(raw, int):
        bare = isinstance(raw, str) and re.fullmatch(r"[0-9]+", raw)
        raise wrong_type("an integer", raw, f"did you mean `{raw}`, without quotes?" if bare else None)
    return Count(raw)


def duration(raw: object, _: object = None) -> Duration:
    """`"30s"`."""
    if not isinstance(raw, str | int | float) or isinstance(raw, bool):
        raise wrong_type('a duration such as "30s"', raw)
    return Duration(literals.duration(raw))


def size(raw: object, _: object = None) -> Size:
    """`"10MiB"`."""
    if not isinstance(raw, str | int | float) or isinstance(raw, bool):
        raise wrong_type('a size such as "10MiB"', raw)
    return Size(literals.size(raw))


def choice(raw: object, choices: tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(raw, str):
        raise wrong_type(one_of(f'"{c}"' for c in choices), raw)
    if raw not in choices:
        message = f"{quote(raw)} is not a choice here: expected {one_of(choices)}"
        raise Fault(Code.NOT_A_CHOICE, message, did_you_mean(raw, choices))
    return raw


def address(raw: object, _: object = None) -> addresses.Address:
    """`"host:port"`."""
    return addresses.address(string(raw))


def admin(raw: object, _: object = None) -> addresses.Address | None:
    """An address, or `false`."""
    if raw is False:
        return None
    if raw is True or not isinstance(raw, str):
        raise wrong_type("an address or `false`", raw, 'write an address such as "127.0.0.1:9090"')
    return address(raw)


def trusted_host(raw: object, _: object = None) -> TrustedHost:
    """A `Host` value."""
    return TrustedHost(addresses.trusted_host(string(raw)))


def origin(raw: object, _: object = None) -> Origin:
    """A browser origin."""
    return Origin(addresses.origin(string(raw)))


def url(raw: object, _: object = None) -> addresses.Url:
    """The URL of a server."""
    return addresses.url(string(raw))


def command(raw: object, _: object = None) -> Command:
    """Program and arguments."""
    if isinstance(raw, str):
        split = [] if may_hold_secret(raw) else split_command(raw)
        hint = f"write `command = {toml_list(split)}`" if split else None
        raise Fault(Code.COMMAND, "a command is an array of strings: no shell takes it apart", hint)
    if not isinstance(raw, list):
        raise wrong_type("an array of strings", raw)
    words = cast("list[object]", raw)
    if not words or words[0] == "":
        raise Fault(Code.COMMAND, "a command needs a program", 'write `command = ["program", "argument"]`')
    return Command(tuple(_argument(word) for word in words))


def _argument(word: object) -> str:
    if not isinstance(word, str):
        raise wrong_type("an array of strings", word, "put the argument in quotes")
    if "\0" in word:
        raise Fault(Code.COMMAND, "an argument cannot contain a NUL character")
    return word


def split_command(text: str) -> list[str]:
    """The words of a shell-like line; none if its quotes do not match."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def toml_list(words: Iterable[str]) -> str:
    """A TOML array of strings."""
    return "[" + ", ".join('"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in words) + "]"


def auth_names(raw: object, _: object = None) -> AuthNames:
    """`"anonymous"`, or an array of strategy names."""
    if raw == "anonymous":
        return AuthNames(())
    if isinstance(raw, str):
        hint = f'write `auth = ["{raw}"]`' if re.fullmatch(r"[a-z0-9_-]+", raw) else None
        raise Fault(Code.WRONG_TYPE, 'expected an array of strategy names or "anonymous", found a string', hint)
    if not isinstance(raw, list):
        raise wrong_type('an array of strategy names or "anonymous"', raw)
    if not raw:
        hint = 'name a strategy, or write `auth = "anonymous"`'
        raise Fault(Code.NO_AUTH, "an empty list lets nobody in", hint)
    names = [string(item) for item in cast("list[object]", raw)]
    if "anonymous" in names:
        raise Fault(
            Code.NO_AUTH,
            "`anonymous` is no strategy in a list",
            'write `auth = "anonymous"` to let everybody in',
        )
    return AuthNames(tuple(names))


def secret(raw: object, _: object = None) -> SecretRef:
    """A reference to a secret, or (warned about elsewhere) the secret itself."""
    if isinstance(raw, str):
        if not raw:
            raise Fault(Code.SECRET_UNUSABLE, "the secret is empty")
        return SecretRef("clear", raw)
    if not isinstance(raw, dict):
        raise wrong_type(f"a secret: {_REFERENCE_FORMS}", raw)
    table = cast("dict[str, object]", raw)
    kinds = [kind for kind in table if kind in ("env", "file", "credential")]
    if len(table) != 1 or len(kinds) != 1:
        unknown = [key for key in table if key not in kinds]
        hint = did_you_mean(unknown[0], ("env", "file", "credential")) if unknown else None
        raise Fault(Code.WRONG_TYPE, f"a secret is {_REFERENCE_FORMS}", hint)
    kind = cast("SecretKind", kinds[0])
    name = string(table[kind])
    pattern = {"env": _ENV_NAME, "credential": _CREDENTIAL}.get(kind)
    if pattern is not None and (not pattern.fullmatch(name) or name in (".", "..")):
        hint = f"write the name alone: {name.lstrip('$').strip('{}')}" if name.startswith("$") else None
        what = "an environment variable" if kind == "env" else "a credential"
        raise Fault(Code.BAD_NAME, f"this is not the name of {what}", hint)
    return SecretRef(kind, name)


def prefix(raw: object, _: object = None) -> Prefix:
    """A string that may be empty, or `false`, which means the same."""
    if raw is False or raw == "":
        return Prefix("")
    if raw is True or not isinstance(raw, str):
        raise wrong_type("a string or `false`", raw, 'write a prefix such as "github", or `false` for none')
    return Prefix(string(raw))


def tool_name(raw: object, _: object = None) -> ToolName:
    """What a tool or prompt may be called."""
    name = string(raw)
    if not _TOOL_NAME.fullmatch(name):
        fixed = re.sub(r"[^A-Za-z0-9_./-]+", "_", name)
        hint = f"did you mean `{fixed}`?" if _TOOL_NAME.fullmatch(fixed) and fixed.strip("_") else None
        message = f"clients cannot use the name {quote(name)}: letters, digits and `_-./`, at most 128"
        raise Fault(Code.UNUSABLE_NAME, message, hint)
    return ToolName(name)


def resource_name(raw: object, _: object = None) -> ResourceName:
    """A URI or URI template."""
    name = string(raw)
    if not _URI.fullmatch(name):
        message = f"clients cannot use {quote(name)}: a resource has a URI"
        raise Fault(Code.UNUSABLE_NAME, message, "begin with a scheme, such as `docs:`; no blanks")
    return ResourceName(name)


def priority(raw: object, _: object = None) -> Priority:
    """A number from 0 to 1."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise wrong_type("a number", raw)
    if not 0 <= raw <= 1:
        raise Fault(Code.RANGE, f"{quote(raw)} is out of range: expected 0 to 1")
    return Priority(float(raw))


def key_hash(raw: object, _: object = None) -> KeyHash:
    """`"sha256:<64 hexadecimal digits>"`."""
    if not isinstance(raw, str):
        raise wrong_type("a string", raw)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", raw):
        hint = "was the key itself put here? `gatewayd keys add ID --stdin` takes it and writes the hash"
        raise Fault(Code.KEY_HASH, "expected `sha256:` and 64 hexadecimal digits in lower case", hint)
    return KeyHash(bytes.fromhex(raw.removeprefix("sha256:")))


def pin_hash(raw: object, _: object = None) -> PinHash:
    """`"sha256:<64 hexadecimal digits>"`."""
    if not isinstance(raw, str):
        raise wrong_type("a string", raw)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", raw):
        raise Fault(Code.PIN_HASH, "expected `sha256:` and 64 hexadecimal digits in lower case", _RELOCK)
    return PinHash(raw.removeprefix("sha256:"))


_RELOCK = "nobody writes this file by hand: move it away, and `gatewayd lock` makes a new one"


def text(raw: object, _: object = None) -> Text:
    """A string of any kind."""
    if not isinstance(raw, str):
        raise wrong_type("a string", raw)
    return Text(raw)


def moment(raw: object, _: object = None) -> datetime:
    """A TOML date-time."""
    if not isinstance(raw, datetime):
        raise wrong_type("a date and time", raw, "without quotes, such as 2026-01-31T12:00:00Z")
    return raw


def env_value(raw: object, _: object = None) -> EnvValue:
    """A string as it is, or a secret."""
    if isinstance(raw, dict):
        return secret(cast("dict[str, object]", raw))
    if not isinstance(raw, str):
        quoted = f'write "{str(raw).lower()}"' if isinstance(raw, bool | int | float) else None
        raise wrong_type("a string or a secret", raw, quoted)
    if "\0" in raw:
        raise Fault(Code.WRONG_TYPE, "an environment variable cannot contain a NUL character")
    return raw


def credential_word(raw: str) -> None:
    """`auth` of a service, written as a word: `"none"` and nothing else."""
    if raw in LATER_CREDENTIALS:
        raise Fault(Code.LATER, f'`auth = "{raw}"` is not part of this release', _AUTH_FORMS)
    if raw != "none":
        raise Fault(Code.NOT_A_CHOICE, 'expected "none" or a table with `bearer`, found another string', _AUTH_FORMS)


_AUTH_FORMS = 'write `auth = "none"` or `auth = { bearer = { env = "NAME" } }`'
