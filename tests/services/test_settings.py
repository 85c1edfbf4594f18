"""Laws of settings: a flag before the environment before the file before the default, and nothing wrong passes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atlas.errors import ConfigError
from atlas.settings import Configuration, Settings, configure, masked

HOME = {"HOME": "/home/somebody", "LOGNAME": "somebody"}


def made(
    folder: Path, flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None, file: str | None = None
) -> Configuration:
    if file is not None:
        (folder / "atlas.toml").write_text(file)
    return configure(flags, environment={**HOME, **(env or {})}, folder=folder)


def test_each_source_counts_before_the_next(tmp_path: Path) -> None:
    file, env, flags = "port = 1\nhost = 'a'\ntools = 'core'", {"ATLAS_PORT": "2", "ATLAS_HOST": "b"}, {"port": 3}
    found = made(tmp_path, flags, env, file)
    assert (found.settings.port, found.sources["port"]) == (3, "--port")
    assert (found.settings.host, found.sources["host"]) == ("b", "ATLAS_HOST")
    assert (found.settings.tools, found.sources["tools"]) == ("core", str(tmp_path / "atlas.toml"))
    assert (found.settings.log_level, found.sources["log_level"]) == ("warning", "default")


def test_a_flag_that_was_not_given_and_an_empty_variable_count_as_nothing(tmp_path: Path) -> None:
    found = made(tmp_path, {"port": None}, {"ATLAS_PORT": "", "ATLAS_ACTOR": ""})
    assert (found.settings.port, found.sources["port"]) == (8765, "default")
    assert found.settings.actor == "somebody"


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_every_setting_is_read_from_the_environment(tmp_path: Path, field: str) -> None:
    values = {"port": "99", "max_children": "99", "max_dependencies": "99", "tools": "ALL", "log_level": "Debug"}
    values |= {"log_format": "JSON", "store_url": "memory:", "slow_query": "0.5"}
    found = made(tmp_path, env={f"ATLAS_{field.upper()}": values.get(field, "x")})
    assert str(getattr(found.settings, field)) == values.get(field, "x").lower()
    assert found.sources[field] == f"ATLAS_{field.upper()}"
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("flags", "env", "file", "field", "hint"),
    [
        ({"port": 65_536}, {}, None, "port", ""),
        ({"portt": 1}, {}, None, "portt", "port"),
        ({}, {"ATLAS_PORT": "many"}, None, "port", ""),
        ({}, {"ATLAS_TOOLS": "few"}, None, "tools", ""),
        ({}, {"ATLAS_LOG_LEVEL": "loud"}, None, "log_level", ""),
        ({}, {"ATLAS_MAX_DEPENDENCIES": "0"}, None, "max_dependencies", ""),
        ({}, {"ATLAS_SLOW_QUERY": "-1"}, None, "slow_query", ""),
        ({}, {"ATLAS_SLOW_QUERY": "soon"}, None, "slow_query", ""),
        ({}, {"ATLAS_MAX_CHILDREN": "1000001"}, None, "max_children", ""),
        ({}, {"ATLAS_ACTOR": "x" * 201}, None, "actor", ""),
        ({}, {}, "port = '1'", "port", ""),
        ({}, {}, "port = 1.5", "port", ""),
        ({}, {}, "prot = 1", "prot", "port"),
        ({}, {}, "[server]\nport = 1", "server", ""),
        ({}, {}, "zzzzzzzz = 1", "zzzzzzzz", ""),
        ({}, {}, "actor = ''", "actor", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_bound_and_the_nearest_name(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], file: str | None, field: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        made(tmp_path, flags, env, file)
    assert refused.value.field == field
    assert refused.value.bound
    assert refused.value.given is not None
    assert hint in refused.value.hint
    place = "--" if flags else "ATLAS_" if env else str(tmp_path / "atlas.toml")
    assert place in refused.value.message


@pytest.mark.parametrize("text", [b"port = ", b"\xff", b"port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "atlas.toml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"atlas\.toml is not TOML"):
        made(tmp_path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "atlas.toml").write_text("port = 1")

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(ConfigError, match="Permission denied"):
        made(tmp_path)


def test_an_unknown_variable_is_only_warned_about(tmp_path: Path) -> None:
    found = made(tmp_path, env={"ATLAS_TOOL": "core", "ATLAS_XYZZY": "1", "ATLASES": "1"})
    assert found.warnings == (
        "ATLAS_TOOL is not a setting of Atlas; did you mean ATLAS_TOOLS?",
        "ATLAS_XYZZY is not a setting of Atlas",
    )


def test_the_file_is_the_nearest_up_to_the_project(tmp_path: Path) -> None:
    project, below = tmp_path / "project", tmp_path / "project" / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "atlas.toml").write_text("port = 1")
    (project / "atlas.toml").write_text("port = 2")
    assert made(below).settings.port == 8765
    (project / ".atlas").mkdir()
    assert made(below).settings.port == 2
    (below.parent / "atlas.toml").write_text("port = 3")
    assert made(below).settings.port == 3
    (project / "atlas.toml").unlink()
    (below.parent / "atlas.toml").unlink()
    assert made(below).settings.port == 8765


def test_relative_paths_in_the_file_start_at_its_folder(tmp_path: Path) -> None:
    below = tmp_path / "with space" / "below"
    (tmp_path / "with space" / ".atlas").mkdir(parents=True)
    below.mkdir()
    (tmp_path / "with space" / "atlas.toml").write_text("store_url = 'sqlite:///work.db'\nlog_file = 'a.log'")
    found = made(below).settings
    assert found.store_url == f"sqlite:///{tmp_path}/with%20space/work.db"
    assert found.log_file == str(tmp_path / "with space" / "a.log")
    (tmp_path / "with space" / "atlas.toml").write_text("store_url = 'sqlite:////tmp/x.db'\nlog_file = '/tmp/a.log'")
    found = made(below).settings
    assert (found.store_url, found.log_file) == ("sqlite:////tmp/x.db", "/tmp/a.log")


def test_the_store_is_that_of_the_nearest_project(tmp_path: Path) -> None:
    below = tmp_path / "a b" / "c"
    below.mkdir(parents=True)
    (tmp_path / "a b" / ".atlas").mkdir()
    found = made(below)
    assert found.settings.store_url == f"sqlite:///{tmp_path}/a%20b/.atlas/atlas.db"
    assert (found.project, found.is_fallback) == (tmp_path / "a b", False)
    named = made(below, {"store_url": "memory:", "slow_query": "0.5"})
    assert (named.settings.store_url, named.project, named.is_fallback) == ("memory:", None, False)


def test_a_file_of_that_name_is_no_project(tmp_path: Path) -> None:
    (tmp_path / ".atlas").write_text("")
    assert made(tmp_path).is_fallback


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, "/home/somebody/.local/share"),
        ({"XDG_DATA_HOME": "/data"}, "/data"),
        ({"XDG_DATA_HOME": "relative"}, "/home/somebody/.local/share"),
    ],
)
def test_without_a_project_it_is_the_user_s_own(tmp_path: Path, env: dict[str, str], place: str) -> None:
    found = made(tmp_path, env=env)
    assert found.settings.store_url == f"sqlite:///{place}/atlas/atlas.db"
    assert (found.project, found.is_fallback) == (None, True)


def worktree(folder: Path) -> tuple[Path, Path]:
    """Make what git makes of a main checkout and a worktree of it."""
    main, tree = folder / "main", folder / "tree"
    (main / ".git" / "worktrees" / "tree").mkdir(parents=True)
    (main / ".git" / "worktrees" / "tree" / "commondir").write_text("../..\n")
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {main}/.git/worktrees/tree\n")
    return main, tree


def test_a_worktree_shares_its_main_checkout_s(tmp_path: Path) -> None:
    main, tree = worktree(tmp_path)
    (tree / "sub").mkdir()
    (main / ".atlas").mkdir()
    assert made(tree / "sub").project == main
    (main / "atlas.toml").write_text("port = 5")
    assert made(tree / "sub").settings.port == 5
    (main / "sub" / ".atlas").mkdir(parents=True)
    assert made(tree / "sub").project == main / "sub"
    (tree / ".atlas").mkdir()
    assert made(tree).project == tree


@pytest.mark.parametrize("link", ["gitdir: /nowhere", "nonsense", "gitdir: ../main/.git/modules/x"])
def test_other_links_of_git_lead_nowhere(tmp_path: Path, link: str) -> None:
    main, tree = worktree(tmp_path)
    (main / ".atlas").mkdir()
    (tree / ".git").write_text(link)
    assert made(tree).is_fallback


def test_the_actor_is_the_agent_or_else_the_user(tmp_path: Path) -> None:
    assert made(tmp_path, env={"ATLAS_AGENT": "bot"}).settings.actor == "bot"
    assert made(tmp_path, env={"ATLAS_AGENT": "bot"}).sources["actor"] == "ATLAS_AGENT"
    assert made(tmp_path, env={"ATLAS_AGENT": "bot", "ATLAS_ACTOR": "me"}).settings.actor == "me"
    assert made(tmp_path).settings.actor == "somebody"
    without = configure(environment={"HOME": "/"}, folder=tmp_path)
    assert without.settings.actor
    assert without.sources["actor"] == "the system's user"


def test_a_user_without_a_name_is_known_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    assert configure(environment={"HOME": "/"}, folder=tmp_path).settings.actor == "user-987654"


@pytest.mark.parametrize(("env", "has_color"), [({}, True), ({"NO_COLOR": ""}, False), ({"TERM": "dumb"}, False)])
def test_colours_can_be_taken_away(tmp_path: Path, env: dict[str, str], has_color: bool) -> None:
    assert made(tmp_path, env=env).has_color is has_color


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    limits = made(tmp_path, env={"ATLAS_MAX_CHILDREN": "5", "ATLAS_MAX_DEPENDENCIES": "6"}).settings.limits()
    assert (limits.children, limits.dependencies) == (5, 6)


def test_the_defaults_are_within_their_bounds(tmp_path: Path) -> None:
    settings = made(tmp_path).settings
    given = {name: value for name, value in msgspec.structs.asdict(settings).items() if value != ""}
    assert msgspec.convert(given, Settings) == settings


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("store_url", "postgres://me:pass@host/db", "postgres://me:***@host/db"),
        ("store_url", "postgres://me:p:a@host/db", "postgres://me:***@host/db"),
        ("store_url", "postgres://me:p@ss@host/db", "postgres://me:***@host/db"),
        ("store_url", "postgres://me:p/s@host/db", "postgres://me:***@host/db"),
        ("store_url", "redis://host:1/0?a=b@c", "redis://host:1/0?a=b@c"),
        ("message", "from redis://host:1/0 to a@b", "from redis://host:1/0 to a@b"),
        ("store_url", "redis://:pass@host", "redis://:***@host"),
        ("store_url", "x://host/?API_KEY=1&b=2&token=3", "x://host/?API_KEY=***&b=2&token=***"),
        ("store_url", "sqlite:///work.db?synchronous=normal", "sqlite:///work.db?synchronous=normal"),
        ("password", "x", "***"),
        ("api_token", "x", "***"),
        ("port", 1, 1),
    ],
)
def test_secrets_are_masked(name: str, value: Any, shown: Any) -> None:
    assert masked(name, value) == shown


def test_a_refusal_masks_what_was_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        made(tmp_path, file="db_password = 'hidden'")
    assert "hidden" not in str(refused.value.as_dict())
