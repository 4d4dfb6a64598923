"""Parts of the reference that are made from the program itself: the help of each command, the keys of each config.

A page names the part in a comment, `<!-- generated: commands -->`, which is replaced before the page is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from sphinx.application import Sphinx

from mocap_ray.cli.main import app as command_line
from mocap_ray.config import shipped
from mocap_ray.runs.estimate import EstimateConfig
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.extraction import PoseExtractConfig
from mocap_ray.runs.search import SearchConfig
from mocap_ray.runs.tasks import TASKS
from mocap_ray.runs.train import TrainConfig

_MARK = re.compile(r"<!-- generated: (\w+) -->")


def commands() -> str:
    """The `--help` of each command, as one section each."""
    top = typer.main.get_command(command_line)
    context = top.make_context("mocap-ray", [], resilient_parsing=True, terminal_width=80)
    parts = [f"```text\n{top.get_help(context)}\n```"]
    for path, text in _helps(top, context):
        parts += [f"## {path}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _helps(group: Any, context: Any) -> Iterator[tuple[str, str]]:
    """The path and the help of every command below a group, depth first."""
    for name, command in group.commands.items():
        own = command.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=80)
        yield own.command_path, command.get_help(own)
        if hasattr(command, "commands"):
            yield from _helps(command, own)


def configs() -> str:
    """The shipped configs with their purposes."""
    return "\n\n".join(f"`{' '.join(c.words(c.name))}`\n: {c.purpose}" for c in shipped()) + "\n"


def keys() -> str:
    """Every key of every config: its type, its default, and what it does."""
    parts = ["## Extraction", *_section(ExtractConfig)]
    parts += ["## Extraction of single poses", *_section(PoseExtractConfig)]
    first = next(iter(TASKS))
    general = TrainConfig.for_values({"model": {"kind": first}})
    parts += ["## Training", *_section(general, leave_out=("model",))]
    for kind in TASKS:
        parts += [
            f"### model.kind: {kind}",
            *_section(TASKS[kind].model, prefix="model.", leave_out=("kind",)),
            *_own_data(kind, first),
        ]
    parts += ["## Search", *_section(SearchConfig, leave_out=("ray",))]
    parts.append("The keys of `ray` are those of a training; they hold for each trial.")
    parts += ["## Estimation from videos", *_section(EstimateConfig, leave_out=("motion", "ray"))]
    parts.append("The keys of `motion` and `ray` are those of an extraction.")
    return "\n\n".join(parts) + "\n"


def _own_data(kind: str, first: str) -> list[str]:
    """The keys of the section `data` that a kind has and the first kind, which is shown in full, has not."""
    shown = tuple(TASKS[first].data.model_fields)
    return _section(TASKS[kind].data, prefix="data.", leave_out=shown)


class _Lenient(GenerateJsonSchema):
    """JSON schema in which a field of a type without one, such as a range of a search, is any value."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {}


def _section(model: type[BaseModel], *, prefix: str = "", leave_out: tuple[str, ...] = ()) -> list[str]:
    schema = model.model_json_schema(schema_generator=_Lenient)
    return list(_entries(schema, schema.get("$defs", {}), prefix, leave_out))


def _entries(
    schema: dict[str, Any], known: dict[str, Any], prefix: str, leave_out: tuple[str, ...] = ()
) -> Iterator[str]:
    """A definition list: one entry for each key, those of subsections with dots."""
    for name, field in schema["properties"].items():
        if name in leave_out:
            continue
        inner = _resolved(field, known)
        if "properties" in inner:
            yield from _entries(inner, known, f"{prefix}{name}.")
            continue
        default = "needed" if name in schema.get("required", ()) else ""
        if "default" in field:
            default = f"default `{json.dumps(field['default'])}`"
        text = " ".join((field.get("description") or "").split())
        head = f"`{prefix}{name}` ({', '.join(filter(None, (kind_of(field, known), default)))})"
        yield f"{head}\n: {text}"


def _resolved(field: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return known[field["$ref"].rpartition("/")[2]] if "$ref" in field else field


_NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def kind_of(field: dict[str, Any], known: dict[str, Any]) -> str:
    """The type of a field in words, from its JSON schema.

    >>> kind_of({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto", "type": "string"}]}, {})
    'whole number, at least 1, or `auto`'
    """
    field = _resolved(field, known)
    if "anyOf" in field:
        return ", or ".join(dict.fromkeys(kind_of(part, known) for part in field["anyOf"]))
    if values := field.get("enum", [field["const"]] if "const" in field else []):
        return ", ".join(f"`{value}`" for value in values)
    if field.get("type") == "array":
        items = field.get("items") or {}
        return f"list of {kind_of(items, known)}" if items else "list"
    if field.get("type") in ("object", "null"):
        return "mapping" if field["type"] == "object" else "`null`"
    bounds = [f"{words} {field[key]:g}" for key, words in _BOUNDS.items() if key in field]
    return ", ".join(filter(None, (_NAMES.get(field.get("type", ""), ""), *bounds)))


PARTS: dict[str, Callable[[], str]] = {"commands": commands, "configs": configs, "keys": keys}


def filled(text: str) -> str:
    """The text of a page with its generated parts."""
    return _MARK.sub(lambda found: PARTS[found[1]](), text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Fills the pages as they are read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
