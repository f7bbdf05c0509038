"""URIs that their server may take for the same, though they are spelled in another way. Pure.

RFC 3986, section 6.2.2, and RFC 8089 for files. Servers read URIs in ways of their own, so there may be more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from gatewayd.virtual.uris import carried, carrier

DECODED: Final = 3
"""How often a percent-encoding of a percent-encoding is looked through."""
MOST_CUTS: Final = 8
"""Places in a URI at which a query or a fragment may begin."""

_CUT: Final = re.compile(r"[?#]")


def decodings(uri: str) -> set[str]:
    """The URI with its scheme in lower case, and its percent-encodings looked through."""
    scheme, colon, rest = uri.partition(":")
    found = {uri, scheme.lower() + colon + rest}
    for _ in range(DECODED):
        found |= {unquote(one) for one in found}
    return found


def spellings(uri: str) -> set[str] | None:
    """Ways to write the URI: as it is, decoded, tidied, and each of them with or without query, fragment and the slash
    at its end. None: too many to look at.
    """
    found = set[str]()
    for one in decodings(uri):
        cuts = [match.start() for match in _CUT.finditer(one)]
        if len(cuts) > MOST_CUTS:
            return None
        for end in (*cuts, len(one)):
            tidy = _tidied(one[:end])
            found |= {one[:end], tidy, _opened(tidy)}
    return found


@lru_cache(1024)
def canonical(uri: str) -> str:
    """The one of its spellings that URIs have in common which are the same; of a pattern, what fits that."""
    carrying = carrier(uri)
    if carrying is not None:
        return carried(carrying[0], canonical(carrying[1]))
    for _ in range(DECODED):
        uri = unquote(uri)
    return _opened(_tidied(uri))


def climbs(uri: str) -> bool:
    """Whether there are steps in it that lead up again, so that it begins with what it does not mean."""
    return any(not {".", ".."}.isdisjoint(re.split(r"[/\\?#]", one)) for one in decodings(uri))


def _tidied(uri: str) -> str:
    """One slash between two steps; scheme and host in lower case, and no host that goes without saying."""
    path, rest = _parted(uri)
    scheme, colon, steps = path.partition(":")
    if not colon:
        return uri
    host = ""
    if steps.startswith("//"):
        host, slash, steps = steps[2:].partition("/")
        steps = slash + steps
        authority = "//" + ("" if scheme.lower() == "file" and host.lower() == "localhost" else host.lower())
    else:
        authority = "//" if steps.startswith("/") else ""
    return f"{scheme.lower()}:{authority}{re.sub('/+', '/', steps)}{rest}"


def _opened(uri: str) -> str:
    """Without the slash at the end of the path."""
    path, rest = _parted(uri)
    return path.rstrip("/") + rest


def _parted(uri: str) -> tuple[str, str]:
    """The URI up to the query or fragment, and that."""
    cut = _CUT.search(uri)
    return (uri, "") if cut is None else (uri[: cut.start()], uri[cut.start() :])
