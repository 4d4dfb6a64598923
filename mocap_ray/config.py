"""The only reader of YAML: strict, and reports all problems of a file in one message."""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mocap_ray.errors import UserError
from mocap_ray.options import Section, foreign_names
from mocap_ray.storage import expand
from mocap_ray.wording import counted

_HERE = Path(__file__).resolve().parent
CONFIGS = next((f for f in (_HERE / "configs", _HERE.parent / "configs") if f.is_dir()), _HERE / "configs")
"""The shipped configs: a wheel carries them inside the package, a checkout has them at its top."""


UNREADABLE_SCALARS = (ValueError, TypeError, AttributeError, LookupError, OverflowError)
"""What PyYAML raises, besides its own errors, for values such as the date 2024-13-45 or an empty `!!int`."""


class ConfigError(UserError):
    """A config is invalid; the message lists every problem."""


Model = TypeVar("Model", bound=BaseModel)


def find(name: str, *, kind: str) -> Path:
    """Find a config by path, or by bare name in `configs/<kind>/` of the current folder or of this package.

    Raises:
        ConfigError: there is none; the message lists those that exist.
    """
    path = expand(name)
    if path.is_file():
        return path
    folders = [Path("configs") / kind, CONFIGS / kind]
    if path.name == name:
        for folder in folders:
            candidate = folder / f"{path.stem if path.suffix == '.yaml' else name}.yaml"
            if candidate.is_file():
                return candidate
    known = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    hint = f" or one of: {', '.join(known)}" if known else ""
    close = difflib.get_close_matches(path.stem, known, n=1)
    hint = (
        f" Did you mean {close[0]}?{hint and f' Expected a path to a YAML file{hint}.'}"
        if close
        else (f" Expected a path to a YAML file{hint}.")
    )
    found = "a folder" if path.is_dir() else "no such config"
    raise ConfigError(f"{name}: {found}.{hint}")


@dataclass(frozen=True, slots=True)
class Shipped:
    """A config that comes with the package.

    Attributes:
        kind: `extract`, `train`, `search` or `estimate`: the command that takes it.
        name: what one types for it.
        path: its file.
        title: the first line of its header.
        purpose: what it is for, from its header.
    """

    kind: str
    name: str
    path: Path
    title: str
    purpose: str

    def words(self, name: str) -> tuple[str, ...]:
        """The words of the command that uses it under a name or path."""
        if self.kind == "estimate":  # its arguments are videos
            return ("mocap-ray", self.kind, "VIDEO", "--config", name)
        return ("mocap-ray", self.kind, name)


def shipped() -> list[Shipped]:
    """All configs that come with the package, by kind and name."""
    return [_described(path) for path in sorted(CONFIGS.glob("*/*.yaml"))]


def find_shipped(name: str) -> Shipped:
    """A shipped config by `kind/name`, or by its name alone where only one kind has it.

    Raises:
        ConfigError: there is none, or there are several.
    """
    wanted = name.removesuffix(".yaml")
    found = [c for c in shipped() if wanted in (c.name, f"{c.kind}/{c.name}")]
    if len(found) == 1:
        return found[0]
    if found:
        choices = " or ".join(f"{c.kind}/{c.name}" for c in found)
        raise ConfigError(f"{name}: {len(found)} configs have this name. Say {choices}.")
    raise ConfigError(f"{name}: no such config.{_hint(wanted, [f'{c.kind}/{c.name}' for c in shipped()])}")


def _described(path: Path) -> Shipped:
    """A config with what its header says: a line of title, then paragraphs that begin with a word such as Purpose."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line[1:].rstrip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    purpose: list[str] = []
    for line in header[1:]:
        if line.startswith(" Purpose "):
            purpose.append(line.removeprefix(" Purpose ").strip())
        elif purpose and line.startswith("   "):
            purpose.append(line.strip())
        elif purpose:
            break
    return Shipped(path.parent.name, path.stem, path, header[0].strip() if header else "", " ".join(purpose))


def load(
    name: str, schema: type[Model], *, kind: str, overrides: Sequence[str] = (), typed: bool = True
) -> Model:
    """Read a config, apply the overrides, and validate it.

    Args:
        name: path or bare name.
        schema: the pydantic model of its keys.
        kind: folder below `configs/` for bare names.
        overrides: `key.sub=value` texts; values are parsed as YAML.
        typed: whether the user typed the overrides; then a problem with one names it, and not the file.

    Raises:
        ConfigError: lists every problem of the file and the overrides.
    """
    path = find(name, kind=kind)
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: {type(tree).__name__} found. Expected keys such as source: and output:.")
    schema = _chosen(schema, tree, overrides)
    wrong = [problem for text in overrides if (problem := _override(tree, text, schema))]
    in_file: list[str] = []
    try:
        config = schema.model_validate(tree)
    except ValidationError as error:
        # A value that matches no member of a union gives one error for each member; keep the first.
        by_place = {".".join(_place(e, schema)): e for e in reversed(error.errors())}
        for each in reversed(by_place.values()):
            where, what = _problem(each, schema)
            text = _to_blame(where, overrides, each) if typed else None
            if text is None:
                in_file.append(f"{where}{where and ': '}{what}")
            else:
                wrong.append(_of_override(text, each, schema))
    else:
        if not wrong:
            return config
    raise ConfigError(_listed(path, in_file, wrong, bool(overrides) and typed))


def _listed(path: Path, in_file: Sequence[str], wrong: Sequence[str], overridden: bool) -> str:
    """All problems as one message; `overridden`: overrides may also take part in those of the file."""
    if not in_file and len(wrong) == 1:
        return wrong[0]
    where = "the overrides" if not in_file else f"{path} with its overrides" if overridden else str(path)
    lines = "".join(f"\n  {problem}" for problem in (*in_file, *wrong))
    return f"{where}: {counted(len(in_file) + len(wrong), 'problem')}{lines}"


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values; duplicate keys are errors. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a YAML file: byte {error.start} is not UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Expected a YAML file.") from error
    return parse_yaml(text, where=str(path)) or {}


def parse_yaml(text: str | bytes, *, where: str) -> Any:
    """YAML as plain values; duplicate keys are errors. Raises ConfigError; `where` is the name of the file."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{where}{line}: not a YAML file: {problem}.") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not a YAML file of settings: it is nested too deeply.") from error
    except UNREADABLE_SCALARS as error:
        raise ConfigError(f"{where}: not a YAML file: it has an invalid value ({error}).") from error


def flow(values: Sequence[str]) -> str:
    """Texts as a YAML list on one line (flow style), for an override."""
    return str(yaml.safe_dump(list(values), default_flow_style=True, allow_unicode=True, width=10**6)).strip()


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML text; the order of keys is kept."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, except that a duplicate key is an error, not a silent overwrite."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        duplicates = [k for k in keys if keys.count(k) > 1]
        if duplicates:
            problem = f"duplicate key {duplicates[0]!r}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _chosen(schema: type[Model], tree: dict[str, Any], overrides: Sequence[str]) -> type[Model]:
    """The schema of these values: one key, such as `model.kind`, may decide which other keys exist."""
    if not issubclass(schema, Section):
        return schema
    values = copy.deepcopy(tree)
    for text in overrides:
        _override(values, text, schema)
    return cast("type[Model]", schema.for_values(values))


def _override(tree: dict[str, Any], text: str, schema: type[BaseModel]) -> str | None:
    """Set `a.b=value` in the tree; returns a description of the problem, if any."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        return f"--override {text!r}: expected key=value, such as motion.mirror=true"
    if not value:
        return f"--override {key}: no value. Expected key=value without spaces around the equals sign"
    node = tree
    parts = key.split(".")
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            return f"--override {key}: {part!r} is a value, not a section"
        node = child
    try:
        # A path is text, even where YAML would parse 2024, on or @home as something else.
        plain = _is_text(schema, parts) and not value.startswith(('"', "'")) and value not in ("null", "~")
        node[parts[-1]] = value if plain else yaml.load(value, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, *UNREADABLE_SCALARS) as error:
        problem = getattr(error, "problem", None) or "invalid YAML"
        return f"--override {key}: {value!r} is not a YAML value ({problem}). Quote it: '{key}=\"...\"'"
    return None


def _to_blame(where: str, overrides: Sequence[str], error: Any) -> str | None:
    """The last override that set the key of a problem; None: the file did, or several keys are in conflict."""
    for text in reversed(overrides):
        key = text.partition("=")[0]
        if f"{where}.".startswith(f"{key}.") or (
            error["type"] == "extra_forbidden" and key.startswith(f"{where}.")
        ):
            return text
    return None


def _of_override(text: str, error: Any, schema: type[BaseModel]) -> str:
    """The problem of an override; an unknown key gets the nearest one of the whole config."""
    key = text.partition("=")[0]
    where, what = _problem(error, schema)
    unknown = error["type"] == "extra_forbidden" and not _answer(where, error["input"], schema)
    if unknown and (close := _nearest(where, _all_keys(schema))):
        what = f"{_UNKNOWN} Did you mean {close!r}?"
    place = "" if key.startswith(where) else f"{where}: "
    return f"--override {shorten(text, 80)}: {place}{what}"


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The dotted key whose last name is nearest: one of the same section, or of any other if it is very near."""
    section, _, name = key.rpartition(".")
    for keys, cutoff in (([k for k in known if k.rpartition(".")[0] == section], 0.5), (known, 0.8)):
        names = {k.rpartition(".")[2]: k for k in keys}
        if close := difflib.get_close_matches(name, names, n=1, cutoff=cutoff):
            return names[close[0]]
    return None


def _all_keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys, of sections and of values."""
    keys: list[str] = []
    for name, field in schema.model_fields.items():
        kind = field.annotation
        keys.append(f"{prefix}{name}")
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _all_keys(kind, f"{prefix}{name}.")
    return keys


def _is_text(schema: type[BaseModel], parts: Sequence[str]) -> bool:
    """Whether the type of a key is str or str | None."""
    section = _section_at(schema, parts[:-1])
    field = section.model_fields.get(parts[-1]) if section else None
    return field is not None and (field.annotation is str or field.annotation == (str | None))


_UNKNOWN = "unknown key."


def _problem(error: Any, schema: type[BaseModel]) -> tuple[str, str]:
    """One pydantic error: its key, and a sentence on what was found and what was expected."""
    where = ".".join(_place(error, schema))
    if error["type"] == "extra_forbidden":
        if answer := _answer(where, error["input"], schema):
            return where, f"{_UNKNOWN} {answer}"
        section = _walk(schema, error["loc"][:-1])[1]
        known = [] if section is None else list(section.model_fields)
        return where, f"{_UNKNOWN}{_hint(error['loc'][-1], known)}"
    if error["type"] == "missing":
        return where, f"missing. Set it in the file or with --override {where}=..."
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = _tags(schema, error["loc"])
        tag = error["ctx"].get("tag")
        where = f"{where}.{error['ctx']['discriminator'].strip(chr(39))}"
        if tag is None:
            return where, f"missing. One of: {', '.join(known)}."
        return where, f"{tag!r} does not exist.{_hint(tag, known)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    found = "" if isinstance(error["input"], dict | BaseModel) else f" (found {error['input']!r})"
    return where, f"{message}{found}"


def _answer(key: str, value: Any, schema: type[BaseModel]) -> str:
    """What to use instead of a key of another project, or of each such key in a section; empty if it is not one."""
    names = foreign_names(schema)
    places = [name for name in names if name == key or name.endswith(f".{key}")]  # it may lack its section
    if places:
        return names[places[0]]
    parts = value if isinstance(value, Mapping) else {}
    return " ".join(f"{part}: {names[f'{key}.{part}']}" for part in parts if f"{key}.{part}" in names)


def _hint(found: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(found), known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known here: {', '.join(known)}."


def _place(error: Any, schema: type[BaseModel]) -> list[str]:
    """The keys that lead to an error, without pydantic's names for the members of a union."""
    return _walk(schema, error["loc"])[0]


def _section_at(schema: type[BaseModel], loc: Iterable[Any]) -> type[BaseModel] | None:
    """The section of the schema at these keys; None if they lead to a value."""
    return _walk(schema, loc)[1]


def _walk(schema: type[BaseModel], loc: Iterable[Any]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys of a pydantic location, and the section that it leads to; None if it leads to a value."""
    names: list[str] = []
    section: type[BaseModel] | None = schema
    members: dict[str, type[BaseModel]] = {}
    for part in map(str, loc):
        if members:  # the tag of a union selects the section; it is not a key of the file
            section, members = members.get(part), {}
        elif section is None:
            names += [part] if part.isdigit() else []
        else:
            names.append(part)
            field = section.model_fields.get(part)
            kind = field.annotation if field else None
            section = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
            members = _members(field)
    return names, section


def _members(field: FieldInfo | None) -> dict[str, type[BaseModel]]:
    """Tag -> section, for a union that is discriminated by a key such as `model.kind`."""
    if field is None or not isinstance(field.discriminator, str):
        return {}
    sections = get_args(field.annotation)
    return {tag: s for s in sections for tag in get_args(s.model_fields[field.discriminator].annotation)}


def _tags(schema: type[BaseModel], loc: Sequence[Any]) -> list[str]:
    section = _walk(schema, loc[:-1])[1]
    return list(_members(section.model_fields.get(str(loc[-1])))) if section else []
