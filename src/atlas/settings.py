"""Settings, from the one reader of the environment: a flag counts before the environment, atlas.toml, the default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from .errors import ConfigError
from .model import limits
from .model.limits import Limits
from .projects import Project, anchored, find_project, store_url

PREFIX = "ATLAS_"
FILE = "atlas.toml"

_WORDS = ("log_level", "log_format", "tools")
_SECRETS = "password|token|secret|key"
_USER_INFO = r"(?<=://)([^/@:\s]*):[^\s?]*(?=@)"
_OPTION = rf"(?<=[?&])([^=&]*(?:{_SECRETS})[^=&]*)=[^&]*"
_NAMED = r"(?:.* - at `\$\.(?P<field>\w+)`|Object contains unknown field `(?P<unknown>\w+)`)"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting: its name in `atlas.toml`, its bounds, and in its description what it decides."""

    store_url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4_096,
            description="Which store: `sqlite:///relative.db`, `sqlite:////absolute.db`, `file:plan.json`, "
            "`postgresql://…`, `redis://…` or `memory:` (docs/backends.md). Without it, the nearest `.atlas/` upwards "
            "from the working folder, else the user's data folder.",
        ),
    ] = ""
    actor: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=limits.ACTOR,
            description="Who is named in the journal. Without it, `agent`, else the system's user.",
        ),
    ] = ""
    agent: Annotated[
        str,
        Meta(min_length=1, max_length=limits.ACTOR, description="The name of the agent on whose behalf Atlas runs."),
    ] = ""
    tools: Annotated[
        Literal["core", "standard", "all"],
        Meta(description="Which tools the MCP server shows; each profile holds the one before it."),
    ] = "standard"
    host: Annotated[
        str, Meta(min_length=1, max_length=253, description="The address that `atlas serve` listens on.")
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="The port that `atlas serve` listens on; 0 takes a free one.")
    ] = 8765
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="What the servers log, and above.")
    ] = "warning"
    log_format: Annotated[
        Literal["console", "json"], Meta(description="Log lines for people, or one JSON object each.")
    ] = "console"
    log_file: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4_096,
            description="A file to log to as well as to stderr: 5 MiB, then a new one, the last five kept.",
        ),
    ] = ""
    slow_query: Annotated[
        float,
        Meta(ge=0, le=3_600, description="From how many seconds on a query is kept among the slow ones; 0 keeps all."),
    ] = 0.1
    max_dependencies: Annotated[
        int, Meta(ge=1, le=limits.DEPENDENCIES_MOST, description="How many dependencies a task may name.")
    ] = limits.DEPENDENCIES
    max_children: Annotated[int, Meta(ge=1, le=1_000_000, description="How many children a task may have.")] = (
        limits.CHILDREN
    )

    def limits(self) -> Limits:
        """Return the limits of work that these settings set."""
        return Limits(dependencies=self.max_dependencies, children=self.max_children)


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force, where each came from, and what to warn about.

    `settings.store_url` and `settings.actor` are decided. `project` is the folder whose `.atlas/` was found, None
    where somebody named the store or there is none; `is_fallback` says that the user's data folder is used.
    """

    settings: Settings
    sources: dict[str, str]
    project: Path | None
    is_fallback: bool
    has_color: bool
    warnings: tuple[str, ...]


def configure(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Configuration:
    """Decide every setting, for a program that runs in `folder`; `flags` that are None were not given.

    Raises ConfigError naming the setting where it was written, its bound and what was given.
    """
    env = os.environ if environment is None else environment
    here = Path.cwd() if folder is None else folder
    project = find_project(here)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    from_env, warnings = _from_environment(env)
    file = _file(here, project)
    from_file = {} if file is None else _from_file(file)
    layers = [
        (from_file, "" if file is None else str(file), lambda name: f"{name} in {file}"),
        (from_env, "environment", lambda name: PREFIX + name.upper()),
        (given, "flag", _flag),
    ]
    chosen: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.__struct_fields__, "default")
    for values, source, written in layers:
        made = _converted(values, written, is_text=source != str(file))
        chosen |= {name: getattr(made, name) for name in values}
        sources |= {name: _source(source, name) for name in values}
    is_fallback = _decide_store(chosen, sources, project, env)
    _decide_actor(chosen, sources, env)
    return Configuration(
        settings=Settings(**chosen),
        sources=sources,
        project=project.folder if project is not None and sources["store_url"] == str(project.place) else None,
        is_fallback=is_fallback,
        has_color="NO_COLOR" not in env and env.get("TERM") != "dumb",
        warnings=tuple(warnings),
    )


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_url").replace("_", "-")


def _source(source: str, name: str) -> str:
    if source == "flag":
        return _flag(name)
    return PREFIX + name.upper() if source == "environment" else source


def _from_environment(env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are not empty, and a warning for each name that is close but none."""
    values: dict[str, Any] = {}
    warnings = []
    for variable in sorted(name for name in env if name.startswith(PREFIX)):
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.__struct_fields__:
            near = _nearest(name, Settings.__struct_fields__)
            meant = f"; did you mean {PREFIX}{near.upper()}?" if near else ""
            warnings.append(f"{variable} is not a setting of Atlas{meant}")
        elif env[variable]:
            values[name] = env[variable].lower() if name in _WORDS else env[variable]
    return values, warnings


def _file(here: Path, project: Project | None) -> Path | None:
    """Return the nearest atlas.toml from here up to the folder of the project; without one, only here."""
    folders = [here]
    if project is not None and project.folder in here.parents:
        folders += list(here.parents)[: list(here.parents).index(project.folder) + 1]
    elif project is not None and project.folder != here:
        folders.append(project.folder)
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def _from_file(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}", field=str(file), hint="Correct the file.") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", field=str(file)) from error
    if isinstance(values.get("log_file"), str):
        values["log_file"] = str(file.parent / values["log_file"])
    if isinstance(values.get("store_url"), str):
        # A relative address means the folder of the file that says it, wherever the program is run.
        values["store_url"] = anchored(values["store_url"], file.parent)
    return values


def _converted(values: Mapping[str, Any], written: Any, *, is_text: bool) -> Settings:
    if not values:
        return Settings()
    try:
        return msgspec.convert(values, Settings, strict=not is_text)
    except msgspec.ValidationError as error:
        raise _refused(str(error), values, written) from None


def _refused(text: str, values: Mapping[str, Any], written: Any) -> ConfigError:
    found = re.match(_NAMED, text)
    unknown = found["unknown"] if found else None
    if unknown is not None:
        near = _nearest(unknown, Settings.__struct_fields__)
        return ConfigError(
            f"there is no setting {written(unknown)}",
            field=unknown,
            given=masked(unknown, values[unknown]),
            bound=list(Settings.__struct_fields__),
            hint=f"Did you mean {near}?" if near else None,
        )
    name = found["field"] if found else ""
    what = text.partition(" - at `")[0]
    bound = bound_of(name)
    return ConfigError(
        f"{written(name)}: {what[:1].lower()}{what[1:]}",
        field=name,
        given=masked(name, values.get(name)),
        bound=bound,
        hint=f"Use {bound if isinstance(bound, str) else ' or '.join(bound)}.",
    )


def bound_of(name: str) -> list[str] | str:
    """Return what a setting takes: its words, or the range of its numbers or of its length."""
    kind, meta = get_args(next(field.type for field in msgspec.structs.fields(Settings) if field.name == name))
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if kind is int:
        return f"{meta.ge} to {meta.le}"
    return f"text, {meta.min_length} to {meta.max_length} characters"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    found = get_close_matches(name, list(names), n=1)
    return found[0] if found else None


def _decide_store(
    chosen: dict[str, Any], sources: dict[str, str], project: Project | None, env: Mapping[str, str]
) -> bool:
    """Choose the store where nobody named one; says whether it is the user's own, far from any project."""
    if "store_url" in chosen:
        return False
    place = _data_folder(env) if project is None else project.place
    chosen["store_url"] = store_url(place / "atlas.db")
    sources["store_url"] = "the user's data folder" if project is None else str(place)
    return project is None


def _data_folder(env: Mapping[str, str]) -> Path:
    given = env.get("XDG_DATA_HOME", "")
    base = Path(given) if given.startswith("/") else Path(env.get("HOME") or Path.home()) / ".local" / "share"
    return base / "atlas"


def _decide_actor(chosen: dict[str, Any], sources: dict[str, str], env: Mapping[str, str]) -> None:
    if "actor" in chosen:
        return
    if "agent" in chosen:
        chosen["actor"], sources["actor"] = chosen["agent"], sources["agent"]
        return
    chosen["actor"], sources["actor"] = _user(env), "the system's user"


def _user(env: Mapping[str, str]) -> str:
    named = env.get("LOGNAME") or env.get("USER") or env.get("USERNAME")
    if not named:
        import pwd

        try:
            named = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            named = f"user-{os.getuid()}"
    return named[: limits.ACTOR]


def masked(name: str, value: Any) -> Any:
    """Return a setting's value fit to be shown: passwords in addresses and whatever is named as a secret as ***."""
    if not isinstance(value, str):
        return value
    if re.search(_SECRETS, name, re.IGNORECASE):
        return "***"
    return re.sub(_OPTION, r"\1=***", re.sub(_USER_INFO, r"\1:***", value), flags=re.IGNORECASE)
