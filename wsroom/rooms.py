"""The former place of `Room`, which is now in `wsroom.adapters`."""

from wsroom.wire.emission import Room as Room
