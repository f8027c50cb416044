"""Servers that nobody here wrote, with the same model; each runs in an environment of its own."""
