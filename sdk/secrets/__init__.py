"""Secrets, and what is masked wherever text leaves."""
