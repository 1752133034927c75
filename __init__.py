"""Courante: an event-sourced choreography engine on Redis Streams.

The public face. Names are loaded on first use, so that ``import courante`` costs nothing and
``courante --help`` stays quick. Everything that is not in ``__all__`` may change.
"""

__version__ = "0.1.0"
