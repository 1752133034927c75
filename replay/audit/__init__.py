"""Audit: what happened, in a form that others can keep and check: bundles of runs, and anchors of chain heads."""
