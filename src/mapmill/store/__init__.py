"""The patch store: the only package that opens zarr.

A Zarr v3 group with one patch a chunk and several chunks a shard. Each chunk has a crc32c, so
that a flipped bit is an error and never a wrong pixel. Any reader of Zarr v3 reads it; ours
decodes whole batches, in threads.
"""

from mapmill.store.batches import PatchReader
from mapmill.store.reading import PatchStore, store_of
from mapmill.store.shards import MOST_BYTES, Chunks
from mapmill.store.writing import ARRAYS, Form, StoreWriter, group_name

__all__ = [
    "ARRAYS",
    "MOST_BYTES",
    "Chunks",
    "Form",
    "PatchReader",
    "PatchStore",
    "StoreWriter",
    "group_name",
    "store_of",
]
