"""The former module of `Room`, which is now in `wsroom.adapters`."""

from wsroom.wire.emission import Room as Room
