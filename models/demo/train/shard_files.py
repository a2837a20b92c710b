"""Shards of arrays: a file is there when all of it is, so that a stage goes on where it was ended."""

import numpy as np


def write_shard(path, **arrays):
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)


def read_shard(path):
    """{name: array}"""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def shard_paths(folder, kind):
    """Of all shards of a kind, by number; not of those that are being written."""
    return sorted(folder.glob(f"{kind}-[0-9][0-9][0-9].npz"))
