"""Whether a command can write where a flag says, asked before its work."""

import os
from pathlib import Path

from models_of_scaling.errors import InputError


def check_out(
    path: Path,
    *,
    flag: str = "--out",
    inputs: tuple[Path | None, ...] = (),
    is_folder: bool = False,
) -> None:
    """Refuse a place that can't be written before minutes of work, not after.

    Args:
        path: where the flag points to; what is missing of its folders is made when it is written.
        flag: for the message.
        inputs: what the command reads; the answer must not take their place.
        is_folder: whether a folder is wanted there, not a file.

    Raises:
        InputError: where it is a folder or, if one is wanted, is none; where it lies below a file
            or in a folder that may not be written, is one of the inputs, or is no path that this
            system can have.
    """
    try:
        rule = _broken_rule(path, inputs, is_folder)
    except OSError as error:  # a name too long, a folder that may not be searched
        raise InputError(f"{flag} {path}: {error.strerror or error}") from error
    if rule:
        raise InputError(f"{flag} {path}: {rule}")


def _broken_rule(path: Path, inputs: tuple[Path | None, ...], is_folder: bool) -> str:
    """Return what is wrong with a place, "" where nothing is."""
    if "\0" in str(path):
        return "a path can't hold a NUL character"
    if path.is_dir() and not is_folder:
        return "is a folder; name a file"
    places = [path.absolute(), *path.absolute().parents][0 if is_folder else 1 :]
    folder = next(place for place in places if os.path.lexists(place))
    if not folder.is_dir():
        return f"{folder} is no folder"
    # A device or a pipe takes bytes as it is; a file is replaced, so its folder is written to.
    is_stream = path.exists() and not path.is_file() and not is_folder
    if not os.access(*((path, os.W_OK) if is_stream else (folder, os.W_OK | os.X_OK))):
        return f"{path if is_stream else folder} may not be written"
    given = [each for each in inputs if each is not None and each.exists()]
    if path.exists() and any(path.samefile(each) for each in given):
        return "is what the command reads; name another file"
    return ""
