"""Agents: what a node of type ``agent`` keeps, offers and tells between the calls of its model and of tools."""
