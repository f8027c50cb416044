"""Handlers for libraries that many projects use: ready for ``framework: python`` cards, and examples to write your own by.

Each module imports its library only when its class is loaded. A handler is allowed by ``airflow_agentic.contrib.*`` in
``[agentic] allowed_handlers``.
"""
