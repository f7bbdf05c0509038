"""Where the sealing keys come from: that they stay, that nobody else has them, and that nothing of it stops a start."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import attrs
import pytest
import structlog.testing
from structlog.typing import EventDict

from gatewayd.daemon.keys import KeyFileUnusable, SealingKeys, kept_key, key_file, ledger_file
from gatewayd.routes.secret import Secret
from gatewayd.routes.table import SessionLife

CONFIG = Path("/etc/gatewayd/gateway.toml")
LIFE = SessionLife()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder that systemd made for us."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def file(state: Path) -> Path:
    """A key file in order."""
    path = state / "session.key"
    path.write_text("a key of thirty-two characters!!\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def start(state: Path) -> SealingKeys:
    """The keys of a daemon that starts."""
    return SealingKeys({"STATE_DIRECTORY": str(state)}, CONFIG)


def warned(keys: SealingKeys) -> tuple[tuple[bytes, ...], EventDict]:
    """The keys, and the one warning about them."""
    with structlog.testing.capture_logs() as logs:
        found = keys.of(LIFE)
    [event] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert event["event"] == "sessions will not survive a restart"
    assert all(key.decode() not in str(logs) for key in found)
    return found, event


def test_a_restart_has_the_same_key(state: Path) -> None:
    first, second = start(state).of(LIFE), start(state).of(LIFE)
    assert first[0] == second[0]
    assert len(first[0]) >= 32
    [file] = state.iterdir()
    assert file.name == "session.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().strip() == first[0]  # so that `keys = [{ file = ... }]` means the same


def test_two_daemons_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert start(tmp_path / "a").of(LIFE)[0] != start(tmp_path / "b").of(LIFE)[0]


def test_daemons_that_start_at_once_agree(tmp_path: Path) -> None:
    together = Barrier(8)

    def begin(path: Path) -> bytes:
        together.wait(10)
        return kept_key(path)

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(10):
            path = tmp_path / str(attempt) / "session.key"
            assert len(set(pool.map(begin, [path] * 8))) == 1
            assert os.listdir(path.parent) == ["session.key"]


def test_keys_of_the_configuration_come_first_and_leave_no_file(state: Path) -> None:
    life = attrs.evolve(LIFE, keys=(Secret("n" * 32), Secret("ö" * 32)))
    assert start(state).of(life) == (b"n" * 32, "ö".encode() * 32)
    assert list(state.iterdir()) == []


def test_a_reload_changes_nothing_whatever_became_of_the_file(state: Path) -> None:
    keys = start(state)
    before = keys.of(LIFE)
    (state / "session.key").unlink()
    assert keys.of(LIFE) == before
    assert list(state.iterdir()) == []


def test_a_file_is_made_once_there_is_a_place_and_the_key_of_before_still_opens(tmp_path: Path) -> None:
    keys = SealingKeys({"STATE_DIRECTORY": str(tmp_path / "blocked/state")}, CONFIG)
    (tmp_path / "blocked").touch()
    [spare], event = warned(keys)
    assert event["path"] == str(tmp_path / "blocked/state/session.key")
    assert event["reason"] == "not a directory"
    assert warned(keys)[0] == (spare,)
    (tmp_path / "blocked").unlink()
    kept, *others = keys.of(LIFE)
    assert others == [spare]
    assert kept != spare
    assert stat.S_IMODE((tmp_path / "blocked/state").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_file_that_others_can_use_is_not_used(state: Path, file: Path, mode: int) -> None:
    file.chmod(mode)
    found, event = warned(start(state))
    assert file.read_bytes().strip() not in found
    assert "chmod 600" in event["reason"]
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_file_of_somebody_else_is_not_used(state: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody = os.geteuid() + 1
    monkeypatch.setattr("os.geteuid", lambda: somebody)
    assert warned(start(state))[1]["reason"] == "the file belongs to somebody else"


@pytest.mark.parametrize("content", [b"", b"\n", b"k" * 31 + b"\n", b" " * 40, b"k" * 5000, b"k" * 32 + b"\n" * 4096])
def test_a_file_that_has_no_key_is_not_used_and_not_replaced(state: Path, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert warned(start(state))[1]["reason"] == "the content is no key: delete the file"
    assert file.read_bytes() == content


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [folder, pipe, link_to_itself])
def test_what_is_no_file_keeps_nobody_waiting(state: Path, make: Callable[[Path], None]) -> None:
    make(state / "session.key")
    found, _ = warned(start(state))
    assert len(found) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_that_is_closed_to_us(state: Path) -> None:
    state.chmod(0o500)
    assert warned(start(state))[1]["reason"] == "permission denied"


def test_nothing_is_left_of_a_key_that_could_not_be_put_there(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")  # what file systems without links say

    monkeypatch.setattr("os.link", refuse)
    assert warned(start(state))[1]["reason"] == "operation not permitted"
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/gatewayd", "HOME": "/srv/a"}, "/var/lib/gatewayd/session.key"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a/session.key"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/srv/a"}, "/state/gatewayd/a845725577579b94.key"),
        ({"HOME": "/srv/a"}, "/srv/a/.local/state/gatewayd/a845725577579b94.key"),
        (
            {"STATE_DIRECTORY": "", "XDG_STATE_HOME": "rel", "HOME": "/h"},
            "/h/.local/state/gatewayd/a845725577579b94.key",
        ),
        ({"HOME": "nowhere"}, None),
        ({}, None),
    ],
)
def test_where_the_key_is_kept(environ: dict[str, str], expected: str | None) -> None:
    found = key_file(environ, CONFIG)
    assert found == (None if expected is None else Path(expected))


def test_each_configuration_has_a_key_of_its_own_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": "/srv/a"}
    assert key_file(environ, Path("a/../b.toml")) == key_file(environ, tmp_path / "b.toml")
    assert key_file(environ, Path("a.toml")) != key_file(environ, Path("b.toml"))


def test_without_any_place_there_is_a_key_for_this_run() -> None:
    keys = SealingKeys({}, CONFIG)
    [spare], event = warned(keys)
    assert len(spare) >= 32
    assert event["path"] is None
    with pytest.raises(KeyFileUnusable, match="HOME"):
        kept_key(None)


def test_keys_are_not_shown(state: Path) -> None:
    keys = start(state)
    [key, _] = keys.of(LIFE)
    assert key.decode() not in repr(keys)


def test_what_became_of_sessions_is_kept_beside_the_key() -> None:
    assert ledger_file({"STATE_DIRECTORY": "/var/lib/gatewayd"}, CONFIG) == Path("/var/lib/gatewayd/session.ledger")
    kept = ledger_file({"XDG_STATE_HOME": "/state"}, CONFIG)
    assert kept == Path("/state/gatewayd/a845725577579b94.ledger")
    assert ledger_file({}, CONFIG) is None
