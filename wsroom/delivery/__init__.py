"""From an emission to bytes on each socket: rooms of this worker, frames, and writers."""
