#!/usr/bin/env bash
# Minari sorts the parts of a Dict observation by name; Gymnasium keeps the order in which they were declared.
#
# Guess: observations of a Minari data set, flattened by the data set's own space, have the columns that the same
# environment has behind FlattenObservation; both are `gymnasium.spaces.flatten` of "the" observation space.
# Seen (minari 0.5.4, gymnasium 1.4.0): an environment declares Dict(speed=..., angle=...) in that order. The space that
# Minari stores and gives back has angle first. Both flatten to 3 numbers without an error, with the columns exchanged:
# [speed, speed, angle] in the environment, [angle, speed, speed] from the data. A policy cloned from the data acts on
# the wrong columns, and no shape tells. Flatten by the environment's own order of names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q minari==0.5.4 gymnasium==1.4.0 h5py==3.16.0 numpy==2.4.6 pillow==13.0.0 2>"$folder/log" || { cat "$folder/log"; exit 1; }
MINARI_DATASETS_PATH="$folder/data" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from collections import OrderedDict

import gymnasium as gym
import minari
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, flatten
from minari.data_collector import EpisodeBuffer

space = Dict(OrderedDict(speed=Box(-1, 1, (2,), np.float32), angle=Box(-9, 9, (1,), np.float32)))
seen = {"speed": np.array([[0.1, 0.2]] * 3, np.float32), "angle": np.array([[7.0]] * 3, np.float32)}
buffer = EpisodeBuffer(
    observations=seen,
    actions=np.zeros(2, np.int64),
    rewards=np.zeros(2),
    terminations=np.array([False, True]),
    truncations=np.array([False, False]),
)
data = minari.create_dataset_from_buffers(
    "own/order-v0", [buffer], observation_space=space, action_space=Discrete(2), description="-"
)
data = minari.load_dataset("own/order-v0")
first = {name: part[0] for name, part in next(iter(data)).observations.items()}
by_environment, by_data = flatten(space, first), flatten(data.observation_space, first)
print("declared:", list(space), "stored:", list(data.observation_space))
print("flattened by the environment's space:", by_environment)
print("flattened by the data set's space:   ", by_data)
assert list(space) == ["speed", "angle"], list(space)
assert list(data.observation_space) == ["angle", "speed"], list(data.observation_space)
assert by_environment.shape == by_data.shape and by_environment.tolist() != by_data.tolist()
PYTHON
