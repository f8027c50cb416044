"""Handlers for libraries that many projects use: for ``framework: python`` cards, and as examples for your own.

Each module imports its library only when its class is loaded. They need no entry in
``[agentic] allowed_handlers``: this project's own code is always allowed.
"""
