"""JSON Schemas of several libraries, under one set of definitions. No I/O and no asyncio here.

Each schema comes with `$defs` of its own, whose keys the library chose: they may be Python paths,
and one key may mean two models in two schemas. Here equal definitions become one, with a name made
of its title; a different one with the same title gets the next number: `Card`, `Card_2`.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from wsroom.errors import SetupError
from wsroom.schema.contract import Contract, JsonSchema, map_schemas
from wsroom.schema.subschemas import is_deeper, resolve, rewrite

Definitions = dict[str, JsonSchema]
"""The shared definitions, by name."""

PREFIX = "#/components/schemas/"
"""What the references to shared definitions begin with."""

RESERVED = frozenset(
    (
        *keyword.kwlist,
        *"any bigint bool boolean dict float int list never number object str string".split(),
        *"symbol undefined unknown void null".split(),
        *"abstract as async const enum export function interface let namespace new".split(),
        *"package private protected public static switch this throw type typeof var".split(),
        *("Any", "Callable", "Literal", "Never", "NotRequired", "Protocol", "TypeAlias"),
        *("TypedDict", "overload"),
        *("Builtin", "Events", "Function", "Listener", "Registers", "TypedSocket"),
        *("ErrorCode", "FrameId", "Paths"),
    )
)
"""Names that a definition does not get, in any of the languages: so they are the same in all."""

MAX_DEPTH = 64
"""Levels of a definition: as many as a client's frame may have."""


def share(contract: Contract) -> tuple[Contract, Definitions]:
    """Move the definitions of a contract's schemas, and schemas with a title, into one mapping.

    The references to them begin with `PREFIX`. Their order, and so their names, follow the order of
    the contract.

    Raises:
        SetupError: a schema refers to something that it does not define, or is nested too deep.

    """
    pool = _Pool()
    map_schemas(contract, pool.add)
    names = pool.names()
    roots = iter(pool.roots)
    contract = map_schemas(contract, lambda schema, where: pool.written(next(roots), names))
    return contract, pool.definitions(names)


class _Place(NamedTuple):
    """A definition: the number of the schema that has it, and the reference that leads to it."""

    source: int
    ref: str


class _Definition(NamedTuple):
    schema: JsonSchema
    name: str
    text: str
    """The definition as JSON, with numbers instead of the names of what it refers to."""
    targets: tuple[_Place, ...]


ROOT = "#"


class _Pool:
    """The definitions of all schemas that were added."""

    def __init__(self) -> None:
        self.roots: list[_Place] = []
        self._sources: list[JsonSchema] = []
        self._shared_roots: set[int] = set()
        self._found: dict[_Place, _Definition] = {}

    def add(self, schema: JsonSchema, where: str) -> JsonSchema:
        source = len(self._sources)
        self._sources.append(schema)
        self.roots.append(_Place(source, ROOT))
        waiting = [_Place(source, ROOT)]
        while waiting:
            place = waiting.pop(0)
            if place not in self._found:
                self._found[place] = found = self._define(place, where)
                waiting += found.targets
                if any(target.ref == ROOT for target in found.targets):
                    self._shared_roots.add(source)
        if isinstance(schema, dict) and schema.get("title") and "$ref" not in schema:
            self._shared_roots.add(source)
        return schema

    def _define(self, place: _Place, where: str) -> _Definition:
        schema = resolve(self._sources[place.source], place.ref)
        if not isinstance(schema, dict | bool):
            raise SetupError(
                f"{where} refers to {place.ref!r}, which its JSON schema does not have"
            )
        if is_deeper(schema, MAX_DEPTH):
            raise SetupError(
                f"{where} is nested deeper than {MAX_DEPTH} levels; use a flatter type"
            )
        targets: list[_Place] = []

        def number(ref: str) -> str:
            targets.append(_Place(place.source, ref))
            return str(len(targets))

        text = json.dumps(rewrite(schema, number), sort_keys=True, default=repr)
        return _Definition(schema, _name_of(schema, place.ref), text, tuple(targets))

    def _is_shared(self, place: _Place) -> bool:
        return place.ref != ROOT or place.source in self._shared_roots

    def _kinds(self) -> dict[_Place, int]:
        # Definitions are equal if they are the same text, and refer to equal ones: begin with the
        # texts, and split what refers to different kinds, until nothing is split any more.
        kinds: dict[_Place, int] = {}
        count, before = 0, -1
        while count != before:
            numbers: dict[Any, int] = {}
            kinds = {
                place: numbers.setdefault(
                    (kinds.get(place), tuple(kinds[target] for target in found.targets))
                    if kinds
                    else (found.name, found.text),
                    len(numbers),
                )
                for place, found in self._found.items()
            }
            count, before = len(numbers), count
        return kinds

    def names(self) -> dict[_Place, str]:
        """Choose a name for each definition; equal ones have the same."""
        kinds, by_kind, taken = self._kinds(), dict[int, str](), set(RESERVED)
        for place, found in self._found.items():
            if self._is_shared(place) and kinds[place] not in by_kind:
                name = next(name for name in _numbered(found.name) if name not in taken)
                by_kind[kinds[place]] = name
                taken.add(name)
        return {
            place: by_kind[kind]
            for place, kind in kinds.items()
            if self._is_shared(place) and kind in by_kind
        }

    def written(self, place: _Place, names: dict[_Place, str]) -> JsonSchema:
        if place in names:
            return {"$ref": PREFIX + names[place]}
        return self._renamed(place, names)

    def definitions(self, names: dict[_Place, str]) -> Definitions:
        definitions: Definitions = {}
        for place, name in names.items():
            if name not in definitions:
                definitions[name] = self._renamed(place, names)
        return definitions

    def _renamed(self, place: _Place, names: dict[_Place, str]) -> JsonSchema:
        return rewrite(
            self._found[place].schema, lambda ref: PREFIX + names[_Place(place.source, ref)]
        )


def _name_of(schema: JsonSchema, ref: str) -> str:
    title = schema.get("title") if isinstance(schema, dict) else None
    if isinstance(title, str) and (name := _identifier(title)):
        return name
    key = unquote(ref).rpartition("/")[2].replace("~1", "/")
    return _identifier(re.split(r"__|\.", key)[-1]) or "Schema"  # without the path of a module


def _identifier(text: str) -> str:
    # A name of AsyncAPI's components, of TypeScript and of Python.
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def target_of(schema: JsonSchema, definitions: Definitions) -> JsonSchema:
    """Follow the references of a shared schema that is nothing but a reference."""
    for _ in definitions:
        if isinstance(schema, bool) or not isinstance(schema.get("$ref"), str):
            break
        schema = definitions[schema["$ref"].removeprefix(PREFIX)]
    return schema


def circular(definitions: Definitions) -> set[str]:
    """Find the definitions that are themselves, without an object or an array between.

    As types they would be an error, and they say nothing: `A` is `A`, or a string.
    """
    edges = {name: _names_beside(schema) for name, schema in definitions.items()}
    circular = set()
    for name in definitions:
        waiting, seen = list(edges[name]), set[str]()
        while waiting and name not in seen:
            reached = waiting.pop()
            if reached not in seen:
                seen.add(reached)
                waiting += edges[reached]
        if name in seen:
            circular.add(name)
    return circular


def _names_beside(schema: JsonSchema) -> set[str]:
    if isinstance(schema, bool):
        return set()
    found = {schema["$ref"].removeprefix(PREFIX)} if "$ref" in schema else set()
    for key in ("allOf", "anyOf", "oneOf"):
        for each in schema.get(key, ()):
            found |= _names_beside(each)
    return found


def accepts_null(schema: JsonSchema | None, definitions: Definitions) -> bool:
    """Whether null may be valid, so that the message may be left out of a frame."""
    return _accepts_null(schema, definitions, {})


def _accepts_null(
    schema: JsonSchema | None, definitions: Definitions, known: dict[str, bool]
) -> bool:
    if schema is None or isinstance(schema, bool):
        return schema is not False
    kind = schema.get("type", "null")
    if "null" not in (kind if isinstance(kind, list) else [kind]):
        return False
    if schema.get("const") is not None or None not in schema.get("enum", [None]):
        return False
    if (ref := schema.get("$ref")) is not None:
        if ref not in known:
            known[ref] = True  # what refers to itself adds nothing
            if len(known) > MAX_DEPTH:
                return True
            known[ref] = _accepts_null(definitions[ref.removeprefix(PREFIX)], definitions, known)
        if not known[ref]:
            return False
    return all(_accepts_null(each, definitions, known) for each in schema.get("allOf", ())) and all(
        any(_accepts_null(each, definitions, known) for each in schema[key])
        for key in ("anyOf", "oneOf")
        if schema.get(key)
    )
