"""Rules on one `[services.NAME]`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from gatewayd.dsl import source as disk
from gatewayd.dsl.addresses import is_loopback
from gatewayd.dsl.check_gateway import missing_file
from gatewayd.dsl.diagnostics import Code, Finding, quote
from gatewayd.dsl.model import ServiceTable
from gatewayd.dsl.world import Owned

Service = Owned[ServiceTable]
Environ = Mapping[str, str]

OUR_PROGRAM = "gatewayd"
"""Found without being on the search path: the daemon appends the folder that it was installed in."""


def target(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """There is something to talk to."""
    table = service.table
    if table.url is None and table.command is None and service.sound("url") and service.sound("command"):
        hint = "add `url` for a server that runs elsewhere, or `command` for one to start"
        message = f"the service {quote(name)} has neither `url` nor `command`"
        yield Finding(Code.NO_TARGET, message, service.place, hint)


def idle_keys(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """No key stands where it has no effect."""
    table = service.table
    has_url, has_command = service.written("url"), service.written("command")
    for key, useless, why in (
        ("env", has_url and not has_command, "`env` belongs to a `command`"),
        ("cwd", has_url and not has_command, "`cwd` belongs to a `command`"),
        ("trust", has_command and not has_url, "`trust` belongs to an `https` url"),
        ("trust", table.url is not None and table.url.scheme == "http", "`trust` belongs to an `https` url"),
    ):
        if useless and service.written(key):
            yield Finding(Code.NOT_HERE, why, service.key(key), "take it out")
    if table.auth is not None and has_command and not has_url:
        message = "`auth` belongs to a `url`: a process gets its credentials in `env`"
        yield Finding(Code.NOT_HERE, message, service.key("auth"), "write `env = { NAME = { file = ... } }`")


def sharing(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """A server over HTTP has no processes to share: its clients have sessions of their own, or it has none."""
    per = service.table.per
    if service.written("url") and per == "shared":
        message = '`per = "shared"` belongs to a service without `url`: it says who shares a process'
        hint = 'take it out, or write "principal", "call" or "session": who shares a session with the server'
        yield Finding(Code.NOT_HERE, message, service.value("per"), hint)


def files(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """Folders and certificate files are there."""
    table = service.table
    if table.cwd is not None and not disk.is_directory(service.document.source.resolve(table.cwd)):
        hint = "paths are relative to the file that names them"
        yield Finding(Code.FILE_MISSING, f"there is no folder {quote(table.cwd)}", service.value("cwd"), hint)
    if table.trust is not None:
        yield from missing_file(table.trust, service.value("trust"), "")


def program(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """The program can be found, here and now."""
    if service.table.command is None or service.table.command[0] == OUR_PROGRAM:
        return
    word = service.table.command[0]
    place = service.value("command", 0)
    if "/" in word:
        if not disk.find_program(str(service.document.source.resolve(word)), ""):
            hint = "it is looked for relative to this file, and has to be executable"
            yield Finding(Code.NO_PROGRAM, f"there is no program {quote(word)}", place, hint)
        return
    path = service.table.env.get("PATH", environ.get("PATH", os.defpath))
    if isinstance(path, str) and not disk.find_program(word, path):
        hint = "install it, write its whole path, or set `PATH` in `env`"
        yield Finding(Code.NO_PROGRAM, f"the program {quote(word)} is not on the search path", place, hint)


def plain_credential(name: str, service: Service, environ: Environ) -> Iterator[Finding]:
    """A credential does not cross a network in clear."""
    table = service.table
    if table.url is None or table.auth is None or table.url.scheme == "https" or is_loopback(table.url.host):
        return
    message = "the credential is sent without encryption"
    also = ((service.value("url"), "not `https`"),)
    yield Finding(Code.PLAIN_CREDENTIAL, message, service.value("auth"), "use `https`", also)


SERVICE_RULES: tuple[Callable[[str, Service, Environ], Iterator[Finding]], ...] = (
    target,
    idle_keys,
    sharing,
    files,
    program,
    plain_credential,
)
