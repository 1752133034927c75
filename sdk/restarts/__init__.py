"""Runs that go on from others."""
