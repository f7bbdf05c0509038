"""API keys: made, kept, recognised."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatewayd.auth.keyring import (
    KeyEntry,
    KeyFileError,
    Keyring,
    add_key,
    digest,
    list_keys,
    new_key,
    remove_key,
)
from gatewayd.dsl import compile_text
from gatewayd.routes.table import ApiKey, ApiKeyStrategy

NOW = datetime(2026, 1, 31, 12, 0, 0, 999, tzinfo=UTC)


def test_new_keys_are_long_fresh_and_recognisable() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("gwk_") and len(key) == 47 and key.isascii() for key in made)


def test_a_ring_knows_its_keys_and_nothing_else() -> None:
    alice, bob = new_key(), new_key()
    ring = Keyring([ApiKey("alice", digest(alice)), ApiKey("bob", digest(bob))])
    assert ring.authenticate(alice) == "alice"
    assert ring.authenticate(bob) == "bob"
    assert "alice" in ring
    assert "carol" not in ring
    for wrong in ("", alice[:-1], alice + "x", alice.swapcase(), "\udcff", new_key()):
        assert ring.authenticate(wrong) is None
    assert alice not in repr(ring)
    assert digest(alice).hex() not in repr(ring)


def test_an_empty_ring_knows_nobody() -> None:
    ring = Keyring([])
    assert len(ring) == 0
    assert ring.authenticate("") is None
    assert ring.authenticate(new_key()) is None


def test_what_is_added_is_what_the_compiler_reads(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    alice, bob = new_key(), "a-key-that-bob-has-already"
    add_key(path, "alice", alice, now=NOW)
    add_key(path, "bob@example.com", bob, now=NOW)
    outcome = compile_text(
        '[services.web]\nurl = "https://web.example.com"\n'
        '[routes."/mcp"]\nservices = ["web"]\nauth = ["keys"]\n'
        '[auth.keys]\ntype = "api_key"\nfile = "keys.toml"\n',
        environ={},
        path=tmp_path / "gateway.toml",
    )
    assert outcome.diagnostics == ()
    assert outcome.table is not None
    strategy = outcome.table.strategies["keys"]
    assert isinstance(strategy, ApiKeyStrategy)
    ring = Keyring(strategy.keys)
    assert ring.authenticate(alice) == "alice"
    assert ring.authenticate(bob) == "bob@example.com"


def test_the_file_is_private_and_has_no_key_in_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o644)
    key = new_key()
    add_key(path, "alice", key, now=NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key not in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_keys_are_listed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[keys.old]\nhash = "x"\nnote = "kept"\n\n[keys]\nodd = 1\n', encoding="utf-8")
    path.write_text('[keys]\nodd = 1\n\n[keys.old]\nhash = "x"\nnote = "kept"\n', encoding="utf-8")
    add_key(path, "alice", new_key(), now=NOW)
    assert list_keys(path) == (
        KeyEntry("odd", None, None),
        KeyEntry("old", None, "kept"),
        KeyEntry("alice", NOW.replace(microsecond=0), None),
    )
    remove_key(path, "odd")
    remove_key(path, "alice")
    assert [entry.id for entry in list_keys(path)] == ["old"]
    with pytest.raises(KeyFileError, match="no key for alice"):
        remove_key(path, "alice")


@pytest.mark.parametrize(
    "key", ["", "too-short", "x" * 19, "with a space in the middle", "é" * 30, "x" * 513, "x" * 30 + "\n"]
)
def test_weak_and_unsendable_keys_are_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with pytest.raises(KeyFileError) as caught:
        add_key(path, "alice", key, now=NOW)
    assert not key or key not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("principal", ["", "-a", "a b", "a\n", "é", "a" * 129])
def test_malformed_ids_are_refused(principal: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        add_key(tmp_path / "keys.toml", principal, new_key(), now=NOW)


def test_taken_ids_and_known_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    key = new_key()
    add_key(path, "alice", key, now=NOW)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="already"):
        add_key(path, "alice", new_key(), now=NOW)
    with pytest.raises(KeyFileError, match="the key of alice"):
        add_key(path, "bob", key, now=NOW)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"keys = 1\n", b"keys = \n", b"\xff"])
def test_what_is_no_key_file_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(content)
    with pytest.raises(KeyFileError):
        add_key(path, "alice", new_key(), now=NOW)
    assert path.read_bytes() == content


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot read"):
        list_keys(tmp_path / "no.toml")
    with pytest.raises(KeyFileError, match="cannot write in"):
        add_key(tmp_path / "no/keys.toml", "alice", new_key(), now=NOW)
    link = tmp_path / "link.toml"
    link.symlink_to(tmp_path / "no.toml")
    add_key(link, "alice", new_key(), now=NOW)
    assert [entry.id for entry in list_keys(link)] == ["alice"]


def test_a_failed_write_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.toml"
    add_key(path, "alice", new_key(), now=NOW)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        add_key(path, "bob", new_key(), now=NOW)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
