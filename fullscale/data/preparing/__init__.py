"""Turning an image folder into shards: the parts of `python -m fullscale.data.prepare`."""
