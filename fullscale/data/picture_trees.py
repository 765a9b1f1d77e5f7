"""Pictures on a disk by the name of their format, all of them or those that lists name."""

from collections.abc import Callable
from pathlib import Path

from fullscale.data.image_folder import open_image_folder
from fullscale.data.litdata_stream import LitdataStore, open_stream
from fullscale.data.pictures import PictureStore, PictureTree
from fullscale.data.shard_index import ShardIndex, read_manifest
from fullscale.data.subsets import choose_classes, choose_images, read_list
from fullscale.data.tar_shards import TarStore
from fullscale.data.uint8_shards import Uint8Store

# The manifest's word for each format, and what reads one split of it.
_SHARDS: dict[str, tuple[str, Callable[[Path, ShardIndex], PictureStore]]] = {
    "tar_shards": ("tar", lambda _, index: TarStore(index)),
    "litdata": ("litdata", lambda folder, index: LitdataStore(index, open_stream(folder))),
    "uint8_shards": ("uint8", lambda _, index: Uint8Store(index)),
}


def _open_shards(name: str, root: Path) -> PictureTree:
    """Open what `prepare` wrote, or indexed: manifest.json, `train` and `val`."""
    of_format, open_store = _SHARDS[name]
    manifest = read_manifest(root, of_format=of_format)
    train, validation = (
        open_store(root / split, ShardIndex(root / split, manifest)) for split in ("train", "val")
    )
    return PictureTree(classes=manifest.classes, train=train, validation=validation)


def open_picture_tree(
    name: str, root: Path, *, classes: Path | None, images: Path | None
) -> PictureTree:
    """Open pictures on a disk, all of them or those that lists name.

    Args:
        name: image_folder, tar_shards, litdata or uint8_shards.
        root: folder of the data.
        classes: list of the classes to read; None reads all.
        images: list of the pictures to read; None reads all.

    Returns:
        Both splits. What is missing or wrong ends in an InputError.
    """
    chosen = read_list(classes, flag="--data.classes") if classes is not None else None
    if name == "image_folder":
        tree = open_image_folder(root, classes=chosen)
    else:
        tree = _open_shards(name, root)
    if classes is not None and chosen is not None:
        tree = choose_classes(tree, chosen, path=classes)
    if images is not None:
        tree = choose_images(tree, read_list(images, flag="--data.images"), path=images)
    return tree
