"""Pictures on a disk by the name of their format, all of them or those that lists name."""

from pathlib import Path

from fullscale.data.image_folder import open_image_folder
from fullscale.data.litdata_stream import open_litdata
from fullscale.data.pictures import PictureTree
from fullscale.data.subsets import choose_classes, choose_images, read_list
from fullscale.data.tar_shards import open_tar_shards
from fullscale.data.uint8_shards import open_uint8_shards

_SHARDS = {
    "tar_shards": open_tar_shards,
    "litdata": open_litdata,
    "uint8_shards": open_uint8_shards,
}


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
        tree = _SHARDS[name](root)
    if classes is not None and chosen is not None:
        tree = choose_classes(tree, chosen, path=classes)
    if images is not None:
        tree = choose_images(tree, read_list(images, flag="--data.images"), path=images)
    return tree
