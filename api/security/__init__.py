"""Security: who may ask, and how much, before any route sees a request."""
