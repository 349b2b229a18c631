"""The command line, `wsroom ...`: `main` has the arguments, other modules the longer commands."""
