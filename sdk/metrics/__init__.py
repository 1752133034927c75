"""Metrics: counts of one process, and the small server that tells them."""
