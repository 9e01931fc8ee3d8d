"""Everything that is not the algorithm: devices, steps, phases, checkpoints, run folders."""
