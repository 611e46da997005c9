"""The in-process store: for one process, and for tests without a server."""
