"""A contract as types for the browser's client, `events.d.ts`. No I/O and no asyncio here.

The file imports nothing: `connect<Paths["/ws"]>("/ws")` of wsroom.js uses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from wsroom.schema.contract import Contract, PathContract
from wsroom.schema.json_schema import share
from wsroom.schema.typescript_types import Types, jsdoc, key

HEAD = "// The events of an app, for TypeScript. Made by `wsroom types`; do not change it.\n"

Row = tuple[str, str, str]
"""A name, its description, and the type of its messages."""


def declarations(contract: Contract) -> str:
    """Return the text of `events.d.ts`: an interface `Paths`, and a type for each definition.

    Raises:
        SetupError: a schema refers to something that it does not define, or is nested too deep.

    """
    contract, definitions = share(contract)
    types = Types(definitions)
    parts = [HEAD, "\n", "export interface Paths {\n"]
    for path in contract.paths:
        parts += _path(path, types)
    parts.append("}\n")
    for name, schema in definitions.items():
        parts += ["\n", jsdoc(schema), f"export type {name} = {types.define(name)};\n"]
    return "".join(parts)


def _path(path: PathContract, types: Types) -> Iterator[str]:
    yield from _indent(f"{jsdoc({'description': path.doc})}{json.dumps(path.path)}: {{", "  ")
    yield from _table("client", [(e.event, e.doc, types.of(e.message)) for e in path.client])
    emitted = [(e.event, e.doc, types.of(e.message)) for e in path.server]
    # An app that declares nothing may emit anything.
    yield from _table("server", emitted or [("*", "", types.of(None))])
    yield from _table("replies", [(e.event, "", types.of(e.reply)) for e in path.client])
    yield from _table(
        "state", [(r.pattern, r.doc, types.of(r.state)) for r in path.rooms if r.state is not None]
    )
    cards = [(r.pattern, r.doc, r.presence) for r in path.rooms if r.presence is not None]
    if cards:
        yield from _table("presence", [(name, doc, types.of(card)) for name, doc, card in cards])
    yield "  };\n"


def _table(name: str, rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        yield f"    {name}: {{}};\n"
        return
    yield f"    {name}: {{\n"
    for event, doc, written in rows:
        # "*" stands for every other name: its messages are not declared.
        label, value = ("[event: string]", "unknown") if event == "*" else (key(event), written)
        yield from _indent(f"{jsdoc({'description': doc})}{label}: {value};", "      ")
    yield "    };\n"


def _indent(text: str, by: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{by}{line}".rstrip() + "\n"
