"""All that wsroom knows of Redis and Valkey; nothing outside this folder imports redis."""

from wsroom.adapters.redis.adapter import RedisAdapter as RedisAdapter
