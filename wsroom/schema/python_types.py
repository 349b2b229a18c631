"""A contract as types for the Python client, `wsroom types --python`. No I/O and no asyncio here.

Each definition becomes a TypedDict or an alias, and each path a Protocol, which a `ClientSocket`
of `wsroom.client` fulfils: `socket: WsSocket = connect(url)`.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Iterator
from typing import Any

from wsroom.schema.contract import ClientEvent, Contract, JsonSchema, PathContract, ServerEvent
from wsroom.schema.json_schema import (
    PREFIX,
    RESERVED,
    Definitions,
    accepts_null,
    circular,
    share,
)

HEAD = """\
# The events of an app, for Python. Made by `wsroom types --python`; do not change it.
# ruff: noqa
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Never, NotRequired, Protocol, TypeAlias, TypedDict, overload

from wsroom.client.typed import Builtin, Events, Function, Listener, Registers, TypedSocket
"""

UNKNOWN, NEVER = "object", "Never"

_PRIMITIVES = {
    "string": "str",
    "number": "float",
    "integer": "int",
    "boolean": "bool",
    "null": "None",
}


def declarations(contract: Contract) -> str:
    """Return the text of a module with the types of a contract.

    Raises:
        SetupError: a schema refers to something that it does not define, or is nested too deep.

    """
    contract, definitions = share(contract)
    types = _Types(definitions)
    sockets = [text for path in contract.paths for text in _socket(path, types, definitions)]
    for name in definitions:
        types.define(name)
    return "".join([HEAD, *types.written.values(), *sockets])


# -- messages ------------------------------------------------------------------------------------


class _Types:
    """Writes schemas as types. An object inside another schema gets a name, and a definition."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._circular = circular(definitions)
        self._taken = {*RESERVED, *definitions}
        self.written: dict[str, str] = {}
        """The definitions as text, by name."""

    def name(self, *words: str) -> str:
        """Return a new name of a class."""
        parts = re.findall(r"[A-Za-z0-9]+", " ".join(words))
        base = "".join(part[0].upper() + part[1:] for part in parts) or "Root"
        base = f"_{base}" if base[0].isdigit() else base
        name, number = base, 2
        while name in self._taken:
            name, number = f"{base}{number}", number + 1
        self._taken.add(name)
        return name

    def define(self, name: str) -> None:
        schema: JsonSchema = True if name in self._circular else self._definitions[name]
        if isinstance(schema, dict) and _has_properties(schema):
            self._typed_dict(name, schema)
        else:
            written = json.dumps(self.of(schema, name), ensure_ascii=False)
            self.written[name] = f"\n{name}: TypeAlias = {written}\n"

    def of(self, schema: JsonSchema | None, name: str) -> str:
        """Return the type of a schema; an object in it gets this name, or one made of it."""
        if schema is None or isinstance(schema, bool):
            return NEVER if schema is False else UNKNOWN
        parts = [self._own(schema, name)]
        if "$ref" in schema:
            parts.append(schema["$ref"].removeprefix(PREFIX))
        parts += [self.of(each, name) for each in schema.get("allOf", ())]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                parts.append(_union(self.of(each, name) for each in schema[key]))
        # Python has no type for a value of several types at once: the first one says the most.
        return next((part for part in parts if part != UNKNOWN), UNKNOWN)

    def _own(self, schema: dict[str, Any], name: str) -> str:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        kinds = schema.get("type")
        if values == []:
            return NEVER
        if isinstance(values, list):
            return _literals(values)
        if kinds is None:
            return UNKNOWN
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return _union(self._of_kind(kind, schema, name) for kind in kinds)

    def _of_kind(self, kind: str, schema: dict[str, Any], name: str) -> str:
        if kind == "array":
            return self._array(schema, name)
        if kind != "object":
            return _PRIMITIVES.get(kind, UNKNOWN)
        if _has_properties(schema):
            inner = self.name(name)
            self._typed_dict(inner, schema)
            return inner
        rest = schema.get("additionalProperties", True)
        values = [*schema.get("patternProperties", {}).values()]
        if not (values and rest in (True, False)):
            values.append(rest)
        return f"dict[str, {_union(self.of(each, f'{name} value') for each in values)}]"

    def _array(self, schema: dict[str, Any], name: str) -> str:
        # A tuple arrives as a list, too.
        items, first = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):  # before the draft 2020-12
            items, first = schema.get("additionalItems", True), items
        if schema.get("maxItems", len(first) + 1) > len(first) or not first:
            first = [*first, items]
        return f"list[{_union(self.of(each, f'{name} item') for each in first)}]"

    def _typed_dict(self, name: str, schema: dict[str, Any]) -> None:
        self.written[name] = ""  # before those that its fields need
        required = schema.get("required", ())
        fields = {
            key: (self.of(each, f"{name} {key}"), key in required, each)
            for key, each in schema["properties"].items()
        }
        if all(_is_field(key) for key in fields):
            lines = [f"\n\nclass {name}(TypedDict):\n", *_docstring(schema.get("description"))]
            for key, (kind, needed, each) in fields.items():
                lines += _comment(each)
                lines.append(f"    {key}: {kind if needed else f'NotRequired[{kind}]'}\n")
            self.written[name] = "".join(lines)
        else:
            body = ", ".join(
                f"{json.dumps(key, ensure_ascii=False)}: "
                + (json.dumps(kind) if needed else f"NotRequired[{json.dumps(kind)}]")
                for key, (kind, needed, _) in fields.items()
            )
            self.written[name] = f'\n{name} = TypedDict("{name}", {{{body}}})\n'


def _has_properties(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "object" and bool(schema.get("properties"))


def _is_field(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _literals(values: Iterable[Any]) -> str:
    exact = [each for each in values if each is None or isinstance(each, bool | int | str)]
    kinds = {float: "float", list: f"list[{UNKNOWN}]", dict: f"dict[str, {UNKNOWN}]"}
    others = [kinds[type(each)] for each in values if type(each) in kinds]
    written = ", ".join(json.dumps(x) if isinstance(x, str) else repr(x) for x in exact)
    return _union([*([f"Literal[{written}]"] if exact else []), *others])


def _union(types: Iterable[str]) -> str:
    written = list(dict.fromkeys(types))
    if UNKNOWN in written:
        return UNKNOWN
    return " | ".join(each for each in written if each != NEVER) or NEVER


def _docstring(text: object) -> Iterator[str]:
    if text:
        plain = str(text).strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        lines = plain.splitlines()
        end = " " if lines[-1].endswith('"') else ""
        yield from ('    """' + "\n    ".join(lines) + f'{end}"""\n', "\n")


def _comment(schema: JsonSchema) -> Iterator[str]:
    text = schema.get("description", "") if isinstance(schema, dict) else ""
    yield from (f"    # {line}".rstrip() + "\n" for line in str(text).splitlines())


# -- sockets -------------------------------------------------------------------------------------


def _socket(path: PathContract, types: _Types, definitions: Definitions) -> Iterator[str]:
    name = types.name(path.path, "Socket")
    yield f"\n\nclass {name}(TypedSocket, Protocol):\n"
    yield from _docstring(f"The socket of {path.path}.")
    yield from _method(_emit(each, types, definitions) for each in path.client)
    yield from _method(_request(each, types, definitions) for each in path.client)
    yield from _method(_listening(path.server, types))
    names = _literals([each.event for each in path.server]) if path.server else "str"
    chosen = f"{names} | Builtin"
    yield f"    def off(self, event: {chosen}, function: Function | None = None) -> None: ...\n"
    yield f"    def events(self, *names: {chosen}) -> Events: ...\n"


def _method(signatures: Iterable[str]) -> Iterator[str]:
    found = list(signatures)
    for signature in found:
        yield ("    @overload\n" if len(found) > 1 else "") + f"    {signature}: ...\n"


def _name(event: ClientEvent | ServerEvent) -> str:
    return "str" if event.event == "*" else _literals([event.event])


def _sent(event: ClientEvent, types: _Types, definitions: Definitions) -> str:
    kind = types.of(event.message, f"{event.event} message")
    default = " = None" if accepts_null(event.message, definitions) else ""
    return f"self, event: {_name(event)}, message: {kind}{default}"


def _emit(event: ClientEvent, types: _Types, definitions: Definitions) -> str:
    return f"async def emit({_sent(event, types, definitions)}, *, volatile: bool = False) -> None"


def _request(event: ClientEvent, types: _Types, definitions: Definitions) -> str:
    reply = types.of(event.reply, f"{event.event} reply")
    sent = _sent(event, types, definitions)
    return f"async def request({sent}, *, timeout: float | None = None) -> {reply}"


def _listening(server: tuple[ServerEvent, ...], types: _Types) -> Iterator[str]:
    # An app that declares nothing may emit anything.
    kinds = [(_name(each), types.of(each.message, f"{each.event} message")) for each in server]
    kinds = [*kinds, ("Builtin", "Any")] if kinds else [("str", "Any")]
    # mypy asks for the order of `ClientSocket`: first all decorators.
    for name, kind in kinds:
        yield f"def on(self, event: {name}) -> Registers[{kind}]"
    for name, kind in kinds:
        yield f"def on(self, event: {name}, function: Listener[{kind}]) -> Callable[[], None]"
    if server:
        yield 'def on(self, event: Literal["*"], function: Function) -> Callable[[], None]'
