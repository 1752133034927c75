"""redis-py as this project uses it: asyncio clients that give bytes, never str.

redis-py types every reply as bytes or str, because ``decode_responses`` decides while the program runs; ours never
set it. Only what we call is here; ``tests/style`` holds each name and argument against the installed package.
"""
