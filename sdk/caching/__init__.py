"""Outputs of steps that need not be made again."""
