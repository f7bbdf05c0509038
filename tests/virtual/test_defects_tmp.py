from __future__ import annotations
import itertools, json
import pytest, trio, trio.testing
from trio.testing import MockClock
from gatewayd.catalog.catalog import GRACE
from gatewayd.catalog import catalogs as cmod
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.lock import pin
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.upstreams.channel import *
from gatewayd.virtual.uris import Template
from gatewayd.protocol.jsonrpc import Request
from tests.catalog.scene import *
from tests.catalog.scene import fake as mk, open_scene as open_cat
from tests.virtual.scene import (
    open_scene,
    listening,
    virtual_of,
    sent,
    BOB as CBOB,
    told as told_of,
    in_session,
    ALICE as CALICE,
)
import attrs


async def test_smoke(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x"), mk("b", "x", "y")
    async with open_scene(a, b) as s:
        assert await s.tools() == ["a__x", "b__x", "b__y"]
        assert await s.call("b__x") == "b: x"


async def test_30_hanging_list(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    a.scripts["prompts/list"] = lambda h: None
    async with open_scene(a) as s:
        try:
            await s.ask("prompts/list")
        except UpstreamError:
            pass
        assert await s.tools() == ["a__x"]
        await trio.sleep(45)
        assert await s.tools() == ["a__x"]


async def test_31_told_slow_failure(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_cat(a) as s:
        assert await s.names() == ["x"]
        c = s.catalogs.of(ALICE)
        c.watchers += 1
        c.want([])
        n = len(s.told)
        a.scripts["tools/list"] = a.scripts["server/discover"] = lambda h: None
        a.announce("tools")
        await trio.sleep(100)
        assert c.known("tools") is None
        assert len(s.told) > n
        c.watchers -= 1


async def test_31b_told_slow_failure(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_cat(a) as s:
        assert await s.names() == ["x"]
        c = s.catalogs.of(ALICE)
        c.watchers += 1
        c.want([])
        n = len(s.told)
        a.sending = 5
        a.die()
        a.announce("tools")
        await trio.sleep(100)
        assert c.known("tools") is None
        assert len(s.told) > n
        c.watchers -= 1


async def test_4_trouble_of_other(autojump_clock: MockClock) -> None:
    a = mk("a", "x", fresh=1.0)
    a.capabilities = QUIET
    async with open_scene(a) as s:
        assert await s.tools() == ["a__x"]
        a.die()
        try:
            await s.tools(CBOB)
        except UpstreamError:
            pass
        for _ in range(20):
            await trio.sleep(20)
            await s.tools()
            if _ == 5:
                a.live()
                a.lists["tools"] = [tool("new")]
        assert await s.tools() == ["a__new"]


async def test_late_forever(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x", fresh=1.0), mk("b", "y", fresh=1.0)
    a.capabilities = b.capabilities = QUIET
    async with open_scene(a, b) as s:
        b.delay = 1000
        await s.tools()
        b.delay = 0
        a.delay = 5
        assert await s.tools(CBOB) == [] if False else True
        try:
            await s.tools(CBOB)
        except UpstreamError:
            pass
        a.delay = 0
        for _ in range(30):
            await trio.sleep(20)
            got = await s.tools(CBOB)
        assert got == ["a__x", "b__y"]


async def test_hints_given_up(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x"), mk("b", "y")
    a.hints = b.hints = {"ttlMs": 3600000, "cacheScope": "public"}
    async with open_scene(a, b) as s:
        r = await s.ask("tools/list")
        assert r["ttlMs"] == 3600000 and r["cacheScope"] == "public"
        b.die()
        async with listening(s, "tools"):
            await trio.sleep(60)
            r = await s.ask("tools/list")
            assert len(r["tools"]) == 1
            assert r["ttlMs"] == 0


async def test_hide_bypass(autojump_clock: MockClock) -> None:
    a, b = mk("a"), mk("b")
    a.lists["resources"] = [{"uri": "file:///secret/k", "name": "k"}, {"uri": "file:///pub", "name": "k"}]
    v = virtual_of(a, b, shapes=Shapes(resources=Shape(hide=("file:///secret/*",))))
    async with open_scene(a, b, virtual=v) as s:
        assert await s.uris() == ["file:///pub"]
        for u in ("file:///secret/k", "gatewayd://a/file:///secret/k", "FILE:///secret/k"):
            e = await s.refused("resources/read", uri=u)
            assert e.code == -32602


async def test_renamed_template(autojump_clock: MockClock) -> None:
    a, b = mk("a"), mk("b")
    a.lists["templates"] = [{"uriTemplate": "file:///{p}", "name": "k"}]
    v = virtual_of(a, b, shapes=Shapes(resources=Shape(rename={"file:///{p}": "docs:{p}"})))
    async with open_scene(a, b, virtual=v) as s:
        print(await s.ask("resources/templates/list"))
        await s.ask("resources/read", uri="docs:x")
        assert a.of("resources/read")[0].params["uri"] == "file:///x"


@pytest.mark.parametrize("n", ["1e999", "1" + "0" * 5000])
async def test_pins_crash(autojump_clock: MockClock, n: str) -> None:
    a = mk("a", "x")
    b = mk("b", "y")
    from gatewayd.protocol.jsonrpc import Result

    b.scripts["tools/list"] = lambda h: h.say(
        Result(h.request.id, b'{"tools":[{"name":"y","inputSchema":{"type":"object","maximum":%s}}]}' % n.encode())
    )
    v = virtual_of(a, b, lock="warn")
    async with open_scene(a, b, virtual=v) as s:
        async with listening(s, "tools") as l:
            await trio.sleep(5)
        assert await s.tools() == ["a__x", "b__y"]


async def test_retired_other(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x"), mk("b", "y")
    async with open_scene(a, b) as s:
        await s.tools()
        a.scripts["tools/call"] = lambda h: None
        ans = await s.request("tools/call", name="a__x")
        s.use(virtual_of(a))
        await s.retire("b")
        a.of("tools/call")[0].result(content=[{"type": "resource_link", "uri": "file:///x", "name": "n"}])
        print(await ans.receive())
        await ans.aclose()


async def test_receive_cancel(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x"), mk("b", "y")
    async with open_scene(a, b) as s:
        await s.tools()
        b.delay = 100
        a.scripts["tools/call"] = lambda h: h.result(
            content=[{"type": "resource_link", "uri": "file:///x", "name": "n"}]
        )
        ans = await s.request("tools/call", name="a__x")
        with trio.move_on_after(1):
            await ans.receive()
        with trio.fail_after(10):
            assert told_of(await ans.receive())["content"]
        await ans.aclose()


async def test_dup_args(autojump_clock: MockClock) -> None:
    a = mk("a")
    a.lists["tools"] = [
        {
            "name": "x",
            "inputSchema": {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "Region"}}},
        }
    ]
    v = virtual_of(a, discovery="search")
    async with open_scene(a, virtual=v) as s:
        m = sent(99, "tools/call", {"name": "call_tool"})
        p = m.params.replace(
            b'"name": "call_tool"', b'"name":"call_tool","arguments":{"name":"a__x","arguments":{"r":"1","r":"2"}}'
        )
        from gatewayd.protocol.jsonrpc import RpcError

        with pytest.raises(RpcError):
            await s.server.request(Request(99, "tools/call", p), "2026-07-28", "call_tool", CALICE)


async def test_legacy_session(autojump_clock: MockClock) -> None:
    a = mk("a", "x", per="session")
    async with open_scene(a) as s:
        init = Request(
            1,
            "initialize",
            b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}',
        )
        o = await s.server.open_legacy(init, CALICE)
        ans = await o.peer.request(Request(2, "tools/list", b"{}"))
        print(await ans.receive())
        await ans.aclose()
        ans = await o.peer.request(Request(3, "tools/call", b'{"name":"a__x","arguments":{}}'))
        print(await ans.receive())
        await ans.aclose()
        sessions = {h.caller.session for h in a.heard}
        assert len(sessions) == 1 and "" not in sessions, [(h.request.method, h.caller.session) for h in a.heard]
        await o.peer.aclose()


async def test_evict(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_cat(a) as s:
        for n in range(cmod.MOST_CATALOGS + 500):
            s.catalogs.of(Audience(str(n), b"{}"))
        await trio.testing.wait_all_tasks_blocked()
        assert s.kept() <= cmod.MOST_CATALOGS


async def test_idle(autojump_clock: MockClock) -> None:
    a = mk("a", "x", timeouts=Timeouts(call=20, idle=0.001))
    a.sending = 1
    async with open_scene(a) as s:
        assert await s.tools() == ["a__x"]
        await trio.sleep(1)
        assert await s.call("a__x") == "a: x"


async def test_sub_hidden(autojump_clock: MockClock) -> None:
    a, b = mk("a"), mk("b")
    a.lists["resources"] = [{"uri": "file:///k", "name": "k"}]
    async with open_scene(a, b) as s:
        async with listening(s, uris=["file:///k"]) as l:
            print(await l.next())
            s.use(virtual_of(a, b, shapes=Shapes(resources=Shape(hide=("file:///k",)))))
            await trio.sleep(30)
            while await l.next(1):
                pass
            a.update("file:///k")
            assert await l.next() is None


async def test_sub_nested(autojump_clock: MockClock) -> None:
    a, b = mk("a"), mk("b")
    a.lists["resources"] = [{"uri": "file:///k", "name": "k"}]
    b.lists["resources"] = [{"uri": "file:///k", "name": "k"}, {"uri": "file:///k/x", "name": "k"}]
    async with open_scene(a, b) as s:
        uris = await s.uris()
        print(uris)
        async with listening(s, uris=["gatewayd://b/file:///k", "file:///k/x"]) as l:
            print(await l.next())
            b.update("file:///k/x")
            assert await l.next() == ("resources/updated", {"uri": "file:///k/x"})


async def test_closed_ends_listen(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_scene(a) as s:
        ans = await s.request("subscriptions/listen", notifications={"toolsListChanged": True})
        await ans.receive()
    with trio.fail_after(100):
        try:
            assert await ans.receive() is None
        except UpstreamError:
            pass
    await ans.aclose()


def test_template() -> None:
    assert Template("file:///{name}{?version}").matches("file:///x?version=1")
    assert Template("file:///{name}{?version}").matches("file:///x")
    assert Template("x://{a}{b}").matches("x://12")


async def test_big_query(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_scene(a, virtual=virtual_of(a, discovery="search")) as s:
        q = " ".join(f"{n}" for n in range(10, 400))
        r = await s.ask("tools/call", name="search_tools", arguments={"query": q})
        q = " ".join(chr(0x4E00 + n) for n in range(500))
        r = await s.ask("tools/call", name="search_tools", arguments={"query": q})


async def test_ttl_refused_listen(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    a.hints = {"ttlMs": 3600000}
    a.scripts["subscriptions/listen"] = lambda h: h.fail(-32603)
    async with open_scene(a) as s:
        for _ in range(100):
            await s.tools()
            await trio.sleep(5)
        print(a.asked)
        assert a.asked["tools/list"] < 20


async def test_call_keeps(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    async with open_scene(a) as s:
        await s.tools()
        for _ in range(100):
            await s.call("a__x")
            await trio.sleep(5)
        print(a.asked)
        assert a.asked["server/discover"] == 1


async def test_rediscover(autojump_clock: MockClock) -> None:
    a = mk("a", "x")
    a.capabilities = {"tools": {}}
    async with open_scene(a) as s:
        await s.tools()
        a.capabilities = ALL
        a.lists["prompts"] = [{"name": "p"}]
        for _ in range(100):
            await s.tools()
            await trio.sleep(20)
        assert "p" in str(await s.ask("prompts/list"))


async def test_same_hints_on_pages(autojump_clock: MockClock) -> None:
    a = mk("a", *[f"t{n}" for n in range(1500)])
    a.hints = {"ttlMs": 3600000}
    async with open_scene(a) as s:
        r = await s.ask("tools/list")
        await trio.sleep(5)
        r2 = await s.ask("tools/list", cursor=r["nextCursor"])
        print(r["ttlMs"], r2["ttlMs"])
        a.hints = {}
        a.lists["tools"] = [tool("z")]
        a.announce("tools")
        await trio.sleep(1)
        await s.tools()
        r2 = await s.ask("tools/list", cursor=r["nextCursor"])
        print(r["ttlMs"], r2["ttlMs"])


async def test_name_moves(autojump_clock: MockClock) -> None:
    a, b = mk("a", "x"), mk("b", "x")
    async with open_scene(a, b, virtual=virtual_of(a, b, prefixed=False)) as s:
        print(await s.tools())
        a.die()
        a.announce("tools")
        async with listening(s, "tools") as l:
            await trio.sleep(60)
            print(await s.tools())
            print(await s.call("x"))
