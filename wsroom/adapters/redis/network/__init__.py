"""Reaching the servers of one Redis: connections, commands and failovers; knows no rooms."""
