"""All that wsroom knows about Redis and Valkey; no other folder imports redis."""

from wsroom.adapters.redis.adapter import RedisAdapter as RedisAdapter
