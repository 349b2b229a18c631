"""Unions that make the check of a deep message take exponential time. No I/O here.

A union without a discriminator is checked by trying its members. If two members lead back to the
union by the same keys, as `left` does in `Add | Mul`, each level of a message is checked twice as
often as the one above it: a frame of 1 kB could stop the server. So such a type is refused when it
is registered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Node = dict[str, Any]


class Flat(NamedTuple):
    """A schema without its references and unions."""

    members: list[Node]
    unions: set[int]
    """The ids of the unions on the way to the members."""


def exponential_union(schema: Node) -> str | None:
    """Return the members of a union that several of its members lead back to; None without one.

    Args:
        schema: a JSON schema with "$defs"; `anyOf` is a union without a discriminator.

    """
    search = _Search(schema.get("$defs", {}))
    for union in _unions(schema):
        members = [search.flat(member).members for member in union["anyOf"]]
        pairs = [
            (one, other)
            for index, ones in enumerate(members)
            for others in members[index + 1 :]
            for one in ones
            for other in others
        ]
        if search.meets(pairs, union):
            names = [str(m.get("title", "")) for flat in members for m in flat if "title" in m]
            return " | ".join(dict.fromkeys(names)) or "without names"
    return None


def _unions(schema: Any) -> Iterator[Node]:
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            members = value.get("anyOf")
            if isinstance(members, list) and all(isinstance(each, dict) for each in members):
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


class _Search:
    def __init__(self, definitions: dict[str, Node]) -> None:
        self._definitions = definitions

    def flat(self, node: Node) -> Flat:
        flat = Flat([], set())
        waiting, seen = [node], set[int]()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if "$ref" in node:
                name = str(node["$ref"]).rpartition("/")[2]
                waiting.append(self._definitions.get(name, {}))
            elif "anyOf" in node or "oneOf" in node:
                flat.unions.add(id(node))
                waiting += [*node.get("anyOf", ()), *node.get("oneOf", ())]
            else:
                flat.members.append(node)
        return flat

    def meets(self, pairs: list[tuple[Node, Node]], union: Node) -> bool:
        """Whether both of a pair lead to the union, by the same steps in a message."""
        seen: set[tuple[int, int]] = set()
        waiting = pairs
        while waiting:
            one, other = waiting.pop()
            if (id(one), id(other)) in seen:
                continue
            seen.add((id(one), id(other)))
            for child, sibling in _common_steps(one, other):
                ones, others = self.flat(child), self.flat(sibling)
                if id(union) in ones.unions and id(union) in others.unions:
                    return True
                waiting += [(a, b) for a in ones.members for b in others.members]
        return False


def _common_steps(one: Node, other: Node) -> Iterator[tuple[Node, Node]]:
    names = {*one.get("properties", ()), *other.get("properties", ())}
    for name in names:
        yield from _both(_property(one, name), _property(other, name))
    yield from _both(one.get("additionalProperties"), other.get("additionalProperties"))
    prefixes = one.get("prefixItems", ()), other.get("prefixItems", ())
    for index in range(max(map(len, prefixes))):
        yield from _both(_item(one, index), _item(other, index))
    yield from _both(one.get("items"), other.get("items"))


def _property(node: Node, name: str) -> object:
    return node.get("properties", {}).get(name, node.get("additionalProperties"))


def _item(node: Node, index: int) -> object:
    prefix = node.get("prefixItems", ())
    return prefix[index] if index < len(prefix) else node.get("items")


def _both(one: object, other: object) -> Iterator[tuple[Node, Node]]:
    if isinstance(one, dict) and isinstance(other, dict):
        yield one, other
