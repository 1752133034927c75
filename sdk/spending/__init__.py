"""Spending: what the calls of language models take, in tokens and money."""
