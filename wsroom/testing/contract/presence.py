"""What an adapter with presence must do besides: keep tables, and deliver their changes."""

from __future__ import annotations

import asyncio
import itertools
from typing import cast

import pytest

from wsroom.adapters import PRESENCE, Adapter, PresenceAdapter, Room
from wsroom.testing.contract.delivery import CHAT, AdapterContract, Worker
from wsroom.wire.presence import (
    Bury,
    Cards,
    Enter,
    Leave,
    Notice,
    PresenceAnswer,
    Step,
    Update,
    member_key,
)

GRACE = 0.2
"""Seconds: short enough to wait for."""


def enter(socket: str, id: str | int, **values: object) -> Enter:
    """Return the step with which a socket of a member enters."""
    return Enter(socket, member_key(id), {"id": id, **values})


class _Side:
    """One worker's side of the tables."""

    def __init__(self, adapter: Adapter, worker: Worker, name: str, timeout: float) -> None:
        assert isinstance(adapter, PresenceAdapter), "it does not inherit from PresenceAdapter"
        self._adapter = adapter
        self._worker = worker
        self._name = name
        self._timeout = timeout
        self._numbers = itertools.count(1)

    async def change(self, *steps: Step, room: Room = CHAT, number: int = 0) -> PresenceAnswer:
        """Carry out steps; return the answer, with the whole table."""
        async with asyncio.timeout(self._timeout):
            return await self._adapter.change_presence(
                room, self._name, number or next(self._numbers), steps, whole=True
            )

    async def members(self, room: Room = CHAT) -> Cards:
        """Read the members."""
        return _members(await self.change(room=room))

    def notices(self, room: Room = CHAT) -> list[Notice]:
        """Return the changes that were delivered to this worker."""
        delivered = (one for one in self._worker.delivered if one.kind == PRESENCE)
        return [Notice.decode(one.payload) for one in delivered if one.room == room and one.payload]

    async def wait_for(self, position: int) -> list[Notice]:
        """Wait until the change with this position was delivered; return all that were."""
        async with asyncio.timeout(self._timeout):
            while not any(one.position == position for one in self.notices()):
                await self._worker.next()
        return self.notices()


def _members(answer: PresenceAnswer) -> Cards:
    assert answer.table is not None
    return answer.table.members


@pytest.mark.asyncio
class PresenceContract(AdapterContract):
    """The tests of an adapter with presence; use it beside `HistoryContract` if it has both."""

    @pytest.fixture
    def sides(self, adapters: list[Adapter], workers: list[Worker]) -> list[_Side]:
        """Both workers' sides of the tables."""
        given = zip(adapters, workers, ("ws:one", "ws:two"), strict=True)
        return [_Side(*each, self.timeout) for each in given]

    async def test_a_table_has_the_members_of_all_workers(self, sides: list[_Side]) -> None:
        """Each worker must read the same table."""
        one, two = sides
        assert await one.members() == {}
        await one.change(enter("ws:one.1", 1, name="Ann"))
        answer = await two.change(enter("ws:two.1", "1", name="Bob"))
        cards = {"1": {"id": 1, "name": "Ann"}, '"1"': {"id": "1", "name": "Bob"}}
        assert _members(answer) == await one.members() == cards
        assert answer.table is not None and answer.table.workers == {"ws:one", "ws:two"}
        assert answer.epoch and answer.position == 2
        assert await one.members(Room("/ws", "other")) == {}

    async def test_sockets_with_one_id_are_one_member(self, sides: list[_Side]) -> None:
        """The member must leave with its last socket; the last card that was written counts."""
        one, two = sides
        await one.change(enter("ws:one.1", 1, tab="first"))
        await two.change(enter("ws:two.1", 1, tab="second"))
        assert await one.members() == {"1": {"id": 1, "tab": "second"}}
        await one.change(Leave("ws:one.1"))
        assert await one.members() == {"1": {"id": 1, "tab": "second"}}
        await two.change(Leave("ws:two.1"))
        assert await one.members() == {}

    async def test_a_socket_has_one_member(self, sides: list[_Side]) -> None:
        """A socket that enters again with another `id` must leave as the former member."""
        one, two = sides
        await one.change(enter("ws:one.1", 1), enter("ws:one.2", 2))
        await one.change(enter("ws:one.1", 2))
        assert (await two.members()).keys() == {"2"}
        await one.change(Leave("ws:one.2"))
        assert (await two.members()).keys() == {"2"}

    async def test_cards_are_kept_exactly(self, sides: list[_Side]) -> None:
        """Every value of JSON must come back as it was given."""
        one, two = sides
        values = {
            "empty": [[], {}, "", 0, False],
            "numbers": [1.5, -1, 2**53 + 1, 1e300],
            "text": 'é\\"\n\u2028\x00',
            "nested": {"a": {"b": [None]}},
        }
        await one.change(enter("ws:one.1", "é\n", **values))
        assert await two.members() == {member_key("é\n"): {"id": "é\n", **values}}

    async def test_an_update_changes_single_values(self, sides: list[_Side]) -> None:
        """Values that two workers write at the same time must all be kept; None removes one."""
        one, two = sides
        await one.change(enter("ws:one.1", 1, name="Ann"))
        await two.change(enter("ws:two.1", 1, name="Ann"))
        await asyncio.gather(
            one.change(Update("ws:one.1", {"typing": True})),
            two.change(Update("ws:two.1", {"away": [], "name": None})),
        )
        assert await one.members() == {"1": {"id": 1, "typing": True, "away": []}}
        before = (await one.change(Update("ws:one.2", {"x": 1}))).position
        assert before == (await two.change()).position, "a socket that is not there"

    async def test_changes_are_delivered_in_order(self, sides: list[_Side]) -> None:
        """Each position must be delivered once to each subscribed worker, with the new cards."""
        one, two = sides
        for side in sides:
            await side._worker.subscribe(CHAT)
        await one.change(enter("ws:one.1", 1))
        await two.change(enter("ws:two.1", 2), enter("ws:two.2", 3))
        await two.change(Update("ws:two.1", {"x": 1}))
        answer = await one.change(Leave("ws:one.1"))
        for side in sides:
            notices = await side.wait_for(answer.position)
            assert [notice.position for notice in notices] == [1, 2, 3, 4]
            assert {notice.epoch for notice in notices} == {answer.epoch}
            assert [notice.members for notice in notices] == [
                {"1": {"id": 1}},
                {"2": {"id": 2}, "3": {"id": 3}},
                {"2": {"id": 2, "x": 1}},
                {"1": None},
            ]

    async def test_what_changes_nothing_is_not_delivered(self, sides: list[_Side]) -> None:
        """Steps must be idempotent."""
        one, two = sides
        await two._worker.subscribe(CHAT)
        for _ in range(2):
            await one.change(enter("ws:one.1", 1), Update("ws:one.1", {"x": 1}))
        for _ in range(2):
            await one.change(Leave("ws:one.2"), Bury("ws:three"))
        await one.change(enter("ws:one.1", 1, x=1))
        answer = await one.change(enter("ws:one.3", 3))
        notices = await two.wait_for(answer.position)
        assert [notice.members for notice in notices] == [
            {"1": {"id": 1, "x": 1}},
            {"3": {"id": 3}},
        ]

    async def test_a_grace_ends_by_itself(self, sides: list[_Side]) -> None:
        """The member must stay, and be gone for everybody who asks after the grace."""
        one, two = sides
        await one.change(enter("ws:one.1", 1), enter("ws:one.2", 2))
        answer = await one.change(Leave("ws:one.1", GRACE))
        assert answer.due is not None and 0 < answer.due < GRACE + 0.01
        assert _members(answer).keys() == {"1", "2"}
        async with asyncio.timeout(self.timeout):
            while (answer := await two.change()).due is not None:  # noqa: ASYNC110
                await asyncio.sleep(min(answer.due, GRACE))
        assert _members(answer).keys() == {"2"}

    async def test_a_return_ends_the_grace(self, sides: list[_Side]) -> None:
        """The member must be there without a change, and leave with the new socket."""
        one, two = sides
        await one._worker.subscribe(CHAT)
        await one.change(enter("ws:one.1", 1))
        await one.change(Leave("ws:one.1", 3600.0))
        answer = await two.change(enter("ws:two.1", 1))
        assert answer.due is None and answer.table is not None
        assert answer.table.workers == {"ws:two"}
        notices = await one.wait_for(answer.position)
        assert all("1" not in notice.members for notice in notices[1:])
        assert _members(await two.change(Leave("ws:two.1"))) == {}

    async def test_a_dead_worker_is_buried(self, sides: list[_Side]) -> None:
        """Its sockets must be gone, in one call, except those in grace."""
        one, two = sides
        await one.change(enter("ws:one.1", 1), enter("ws:one.2", 2), enter("ws:one.3", 3))
        await two.change(enter("ws:two.1", 1), enter("ws:two.2", 4))
        await one.change(Leave("ws:one.3", 3600.0))
        answer = await two.change(Bury("ws:one"))
        assert _members(answer).keys() == {"1", "3", "4"}
        assert answer.table is not None and answer.table.workers == {"ws:two"}

    async def test_a_table_has_no_messages(self, sides: list[_Side]) -> None:
        """The room's offset and history must be as without presence."""
        one, _ = sides
        before = await one._worker.subscribe(CHAT)
        for number in range(200):
            await one.change(enter("ws:one.1", 1, number=number))
        assert await one._worker.subscribe(CHAT) == before
        past = await one._worker.read(CHAT, before)
        assert not past.emissions and past.offset == before

    async def test_a_large_table(self, sides: list[_Side]) -> None:
        """A thousand members of 1 KiB must be read at once."""
        one, two = sides
        text = "x" * 1000
        await one.change(*(enter(f"ws:one.{n}", n, text=text) for n in range(1000)))
        cards = await two.members()
        assert cards == {str(n): {"id": n, "text": text} for n in range(1000)}
        await one.change(*(Leave(f"ws:one.{n}") for n in range(1000)))
        assert await two.members() == cast(Cards, {})
