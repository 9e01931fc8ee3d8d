"""Files that may hold more than they seem to: asked how large they are, and whether they lead elsewhere, before they
are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import check_inside, library

CHUNK = 2**24


def check_room(name: str, size: int) -> None:
    """Raises UserError where so many bytes are more than the memory that is free."""
    import psutil

    free = psutil.virtual_memory().available
    if size > free:
        raise UserError(
            f"{name} holds {size / 1e9:,.1f} GB when read, and {free / 1e9:,.1f} GB of memory are free: give a part of "
            "it"
        )


def unzipped(path: Path) -> bytes:
    """What a gzipped file holds. Raises UserError where that is more than fits, OSError and others where it is none."""
    parts, size = [], 0
    with gzip.open(path) as file:
        while part := file.read(CHUNK):
            parts.append(part)
            size += len(part)
            check_room(str(path), 4 * size)  # as text, as lines and as records
    return b"".join(parts)


def check_npz(name: str, archive: Any, keys: Iterable[str]) -> None:
    """Raises UserError where arrays of an .npz file are larger than fits, ValueError where they are not all there."""
    from numpy.lib import format as npy

    total = 0
    for key in keys:
        member = f"{key}.npy"
        with archive.zip.open(member) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, kind = read(file)
        size = kind.itemsize
        for side in shape:
            size *= side
        total += size
        check_room(f"{name}: {key}", total)
        if size > archive.zip.getinfo(member).file_size and not kind.hasobject:
            raise ValueError(f"{key} has fewer numbers than its shape {shape} says")


def check_hdf5(file: Any, names: Iterable[str] | None = None) -> None:
    """Raises UserError where an HDF5 file leads to others, or some arrays in it (of these names) are larger than
    fits."""
    h5py = library("h5py", "minari")
    wanted, sizes = None if names is None else set(names), {}

    def elsewhere(name: str, link: Any) -> tuple[str, str] | None:  # what is not None ends the visit
        return (name, link.filename) if isinstance(link, h5py.ExternalLink) else None

    def look(name: str, item: Any) -> tuple[str, str] | None:
        if not isinstance(item, h5py.Dataset):
            return None
        if wanted is None or name in wanted:
            sizes[name] = item.size * item.dtype.itemsize
        sources = [source.file_name for source in item.virtual_sources()] if item.is_virtual else []
        return next(((name, source) for source in [*(item.external or []), *sources]), None)

    # what raises in a visit is an error of h5py's own
    found = file.visititems_links(elsewhere) or file.visititems(look)
    if found is not None:
        raise UserError(
            f"{file.filename}: {found[0]} is kept in another file ({found[1]}), and that is not read: copy it in"
        )
    check_room(str(file.filename), sum(sizes.values()))


def check_parquet(path: Path) -> None:
    """Raises UserError where the rows of a parquet file are more than fits."""
    if path.is_file():
        known = library("pyarrow.parquet", "datasets").read_metadata(str(path))
        groups = sum(known.row_group(i).total_byte_size for i in range(known.num_row_groups))
        check_room(str(path), max(groups, 8 * known.num_rows * known.num_columns))


def check_data_set(folder: Path) -> None:
    """Raises UserError where the folder of a data set of Hugging Face names files or folders outside of it."""
    check_inside(folder)
    for name, named in (("state.json", _files), ("dataset_dict.json", _splits)):
        file = folder / name
        if not file.is_file():
            continue
        try:
            found = list(named(json.loads(file.read_bytes())))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue  # told by who reads it
        for each in found:
            if not isinstance(each, str) or each in ("", ".", "..") or Path(each).name != each:
                raise UserError(f"{file} names {each!r}, which is nothing in its folder: save the data set again")


def _files(state: Any) -> list[Any]:
    return [each["filename"] for each in state["_data_files"]]


def _splits(known: Any) -> list[Any]:
    return list(known["splits"])
