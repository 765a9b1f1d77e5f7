"""From the command's flags to what it does and says."""

import sys
from importlib.util import find_spec
from typing import Any

from fullscale.data.preparing.conversion import Conversion
from fullscale.data.preparing.convert import convert
from fullscale.data.preparing.index_shards import index_shards
from fullscale.data.preparing.shard_writers import PrepareError
from models_of_scaling.errors import InputError

EXIT_FAILED = 1
_NOT_FOR_INDEX = ("destination", "size", "classes", "images", "examples_per_shard")


def run_prepare(given: dict[str, Any]) -> int:
    """Convert or index, and say what there is.

    Args:
        given: the flags by name.

    Returns:
        The exit code: 0, or 1 where too many pictures are damaged or the disk is full.

    Raises:
        InputError: where flags do not go together or the input is wrong.
    """
    workers, num_classes, share = (
        given.pop(name) for name in ("workers", "num_classes", "max_damaged_share")
    )
    indexing = given["format"] == "index"
    if indexing:
        for name in _NOT_FOR_INDEX:
            if given[name] is not None:
                raise InputError(f"--format index takes no {name}: it adds an index to SRC")
    elif num_classes is not None:
        raise InputError("--num-classes is for --format index: a folder's classes are counted")
    elif given["destination"] is None:
        raise InputError("DST is missing: the folder of the shards")
    if given["format"] == "litdata" and find_spec("litdata") is None:
        raise InputError("--format litdata needs litdata: pip install 'batch-size-limit[data]'")
    root = given["source"] if indexing else given["destination"]
    try:
        if indexing:
            manifest, kept = index_shards(root, num_classes=num_classes), 0
        else:
            manifest, kept = convert(Conversion(**given), workers=workers, max_damaged_share=share)
    except (PrepareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(
        f"{manifest.format}: {manifest.num_examples['train']:,} training and "
        f"{manifest.num_examples['val']:,} validation pictures of {len(manifest.classes):,} classes"
        f" in {sum(map(len, manifest.shards.values())):,} shards ({kept:,} were there already); "
        f"{root}"
    )
    return 0
