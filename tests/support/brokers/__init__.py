"""Real brokers for the tests: Valkey, Redis, Sentinel and a cluster, in processes of their own.

Each is started in a temporary folder on free ports of 127.0.0.1, waited for by asking it, and
ended by its id. conftest.py has one of each for the whole run (`valkey`, `redis`, `sentinel`,
`cluster`), to be shared under a `prefix` per test; a test that kills or freezes one starts its own:

    async with brokers.valkey(appendonly="yes") as broker:
        app = WSRoom(RedisAdapter(broker.url))
        await broker.kill()
        await broker.start()          # same port, folder and options
        await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
"""

from tests.support.brokers.cluster import Cluster as Cluster
from tests.support.brokers.cluster import cluster as cluster
from tests.support.brokers.postgres import Postgres as Postgres
from tests.support.brokers.postgres import postgres as postgres
from tests.support.brokers.sentinel import Replicated as Replicated
from tests.support.brokers.sentinel import sentinel as sentinel
from tests.support.brokers.server import DOWN_AFTER as DOWN_AFTER
from tests.support.brokers.server import Broker as Broker
from tests.support.brokers.server import redis as redis
from tests.support.brokers.server import valkey as valkey
from tests.support.processes import AWAY as AWAY
from tests.support.processes import eventually as eventually
from tests.support.processes import free_port as free_port
