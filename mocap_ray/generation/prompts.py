"""Files of prompts: what to generate, one motion or a few of them in each entry.

| ending | content |
|---|---|
| .jsonl | one JSON object in each line |
| .yaml, .yml | a list of entries |
| .txt | one text in each line |

The keys of an entry are those of `Request`, and `n`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from mocap_ray.config import parse_yaml
from mocap_ray.documents import first_problem
from mocap_ray.errors import UserError
from mocap_ray.generation.requests import Request
from mocap_ray.storage import Place, place

ENDINGS = (".jsonl", ".yaml", ".yml", ".txt")
EXPECTED = (
    'Expected a .jsonl file with lines such as {"text": "a person walks", "style": "elderly", "seconds": 6}'
)


class Prompt(Request):
    """An entry of a file of prompts."""

    n: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Number of motions, with the seeds from `seed` on."""

    def requests(self) -> Iterator[Request]:
        """A request for each motion; several of one name are numbered."""
        values = {key: getattr(self, key) for key in Request.model_fields}
        for k in range(self.n):
            name = (
                self.name if self.name is None or self.n == 1 else f"{self.name}_{k:0{len(str(self.n - 1))}d}"
            )
            yield Request.model_construct(**{**values, "seed": self.seed + k, "name": name})


def read_prompts(path: str | os.PathLike[str]) -> dict[str, Request]:
    """The requests of a file of prompts.

    Args:
        path: a local path or an address; .npy files that it names are next to it.

    Returns:
        Where in the file -> the request, in the order of the file.

    Raises:
        UserError: the file cannot be read; or an entry is wrong: where, which key, what was expected and found.
    """
    text = str(path)
    if not text.endswith(ENDINGS):
        raise UserError(f"{text}: a file of another kind. Expected a name that ends in {', '.join(ENDINGS)}.")
    head, slash, name = text.rpartition("/")
    folder = place(head or ("/" if slash else "."))
    try:
        content = folder.read(name).decode()
    except FileNotFoundError as error:
        raise UserError(f"{text}: no such file. {EXPECTED}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{text}: byte {error.start} is not UTF-8. {EXPECTED}.") from error
    found: dict[str, Request] = {}
    names: dict[str, str] = {}
    for where, entry in _entries(text, content):
        for k, request in enumerate(_prompt(entry, where, folder).requests()):
            if request.name in names:
                raise UserError(
                    f"{where}: name: {request.name!r} is also the name of {names[request.name]}. Expected names that "
                    "differ; rename one."
                )
            if request.name is not None:
                names[request.name] = where
            found[f"{where}, motion {k}" if k else where] = request
    if not found:
        raise UserError(f"{text}: no prompts in it. {EXPECTED}.")
    return found


def _entries(path: str, content: str) -> Iterator[tuple[str, Any]]:
    """The entries as plain values, each with its place in the file."""
    if path.endswith((".yaml", ".yml")):
        entries = parse_yaml(content, where=path)
        if not isinstance(entries, list):
            raise UserError(
                f"{path}: {_kind(entries)}. Expected a list of entries, each with a dash before it."
            )
        for k, entry in enumerate(entries, start=1):
            yield f"{path}, entry {k}", entry
        return
    for k, line in enumerate(content.splitlines(), start=1):
        where = f"{path}, line {k}"
        if not line.strip():
            continue
        if path.endswith(".txt"):
            yield where, {"text": line.strip()}
            continue
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            message = getattr(error, "msg", "nested too deeply")
            raise UserError(f"{where}: not JSON ({message[:1].lower()}{message[1:]}). {EXPECTED}.") from error


def _prompt(entry: Any, where: str, folder: Place) -> Prompt:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: {_kind(entry)}. Expected keys such as text and style. {EXPECTED}.")
    try:
        prompt = Prompt.model_validate(dict(entry), context={"folder": folder.uri})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] != "extra_forbidden":
            problem = first_problem(error)
            if isinstance(first["input"], Mapping):  # two keys that contradict each other
                problem = problem.removesuffix(", found an object")
            raise UserError(f"{where}: {problem}.") from error
        key = ".".join(map(str, first["loc"]))
        known = list(Prompt.model_fields) if len(first["loc"]) == 1 else ["frames", "values"]
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Expected keys: {', '.join(known)}."
        raise UserError(f"{where}: {key[:60]!r} is an unknown key. {hint}") from error
    return prompt


def _kind(value: Any) -> str:
    """What a value of a file is, for messages."""
    names: dict[type, str] = {list: "a list", dict: "a mapping", str: "a text", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")
