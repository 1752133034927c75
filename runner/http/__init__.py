"""Requests to services, as nodes, tools and models send them: what is sent, what comes back, where it may go."""
