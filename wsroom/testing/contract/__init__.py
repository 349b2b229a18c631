"""What every adapter must do, as test classes to inherit; needs pytest and pytest-asyncio.

    from wsroom.testing.contract import AdapterContract, HistoryContract

    class TestMyAdapter(HistoryContract):        # AdapterContract if it keeps no history
        @pytest.fixture
        def adapters(self) -> list[Adapter]:
            return [MyAdapter(url), MyAdapter(url)]

Nothing else in wsroom imports this package, so that wsroom does not need pytest.
"""

import pytest

# Before the modules are imported: a failed `assert` in them then shows its values.
pytest.register_assert_rewrite(
    f"{__name__}.delivery", f"{__name__}.history", f"{__name__}.presence"
)

from wsroom.testing.contract.delivery import CHAT as CHAT  # noqa: E402
from wsroom.testing.contract.delivery import PATH as PATH  # noqa: E402
from wsroom.testing.contract.delivery import AdapterContract as AdapterContract  # noqa: E402
from wsroom.testing.contract.delivery import Worker as Worker  # noqa: E402
from wsroom.testing.contract.delivery import emission as emission  # noqa: E402
from wsroom.testing.contract.history import HistoryContract as HistoryContract  # noqa: E402
from wsroom.testing.contract.presence import PresenceContract as PresenceContract  # noqa: E402

__all__ = [
    "CHAT",
    "PATH",
    "AdapterContract",
    "HistoryContract",
    "PresenceContract",
    "Worker",
    "emission",
]
