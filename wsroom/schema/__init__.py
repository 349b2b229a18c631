"""Annotations of the app's functions become checks of what clients send."""
