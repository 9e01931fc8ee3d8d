#!/usr/bin/env bash
# Minari keeps uint8 pictures as JPEG unless told otherwise: what is read is not what was written.
#
# Guess: a data set of expert observations is kept without loss, as other arrays in HDF5 are; uint8 in, the same out.
# Seen (minari 0.5.4): `create_dataset_from_buffers` stores a uint8 observation of 32 x 32 x 3 as JPEG by default. Most
# bytes of a noisy picture come back changed, some by more than 200 of 255; an observation of 16 x 16 x 3 comes back as it
# was. A discriminator that compares the data with a live environment can tell the expert by the artefacts alone.
# `jpeg_encoding=False` keeps the bytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q minari==0.5.4 gymnasium==1.4.0 h5py==3.16.0 numpy==2.4.6 pillow==13.0.0 2>"$folder/log" || { cat "$folder/log"; exit 1; }
MINARI_DATASETS_PATH="$folder/data" "$folder/env/bin/python" -W ignore - <<'PYTHON'
import minari
import numpy as np
from gymnasium.spaces import Box, Discrete
from minari.data_collector import EpisodeBuffer


def changed(side: int, **options: object) -> tuple[float, int]:
    """The share of bytes that come back changed, and the greatest change."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    buffer = EpisodeBuffer(
        observations=pictures,
        actions=np.zeros(2, np.int64),
        rewards=np.zeros(2),
        terminations=np.array([False, True]),
        truncations=np.array([False, False]),
    )
    name = f"own/pictures{side}{len(options)}-v0"
    space = Box(0, 255, (side, side, 3), np.uint8)
    minari.create_dataset_from_buffers(
        name, [buffer], observation_space=space, action_space=Discrete(2), description="-", **options
    )
    back = next(iter(minari.load_dataset(name))).observations
    assert back.shape == pictures.shape and back.dtype == np.uint8
    difference = np.abs(back.astype(int) - pictures)
    return float((difference > 0).mean()), int(difference.max())


large, small, lossless = changed(32), changed(16), changed(32, jpeg_encoding=False)
print("32 x 32 by default: share changed, greatest change:", large)
print("16 x 16 by default:", small, " 32 x 32 with jpeg_encoding=False:", lossless)
assert large[0] > 0.5 and large[1] > 200, large
assert small == (0.0, 0) and lossless == (0.0, 0), (small, lossless)
PYTHON
