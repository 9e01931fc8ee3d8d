"""Where and how a run is carried out, whatever it is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seqgan_kit.bounds import Count, NotNegative, Positive, Seed, Threads, Whole


@dataclass(frozen=True)
class RunConfig:
    """Where and how a run is carried out.

    Args:
        folder: The run folder, which must not exist yet; unset takes the next free one of runs/TASK-1, runs/TASK-2 and
            so on.
        budget: Time that the whole run shall take on this machine, control and evaluations included, as 90s, 10m or 2h.
            The phases are tried for a moment, and their steps chosen and told; steps that are given, or those of a
            recipe, are then proportions only. Unset takes the steps as they are.
        seed: The seed of all random numbers: data, initial weights, samples; on a CPU the same seed gives the same run.
        device: Where networks are computed. `auto` takes a GPU where there is one, NVIDIA's (cuda) or Apple's (mps),
            but the CPU for small policies in environments, which a GPU makes slower.
        precision: Precision of the networks' products, of samples and of steps: fp32, or bf16, which computes them in
            bfloat16 (`seqgan-kit env` says whether the machine knows it), but for the recurrences of LSTMs.
        tf32: Whether NVIDIA's GPUs multiply float32 numbers as TF32, many times as fast, with the exponents of float32
            and the first 10 of its 23 bits. false multiplies them whole. The CPU always does.
        processes: Number of processes that torchrun launched, as a check. Unset takes those that there are.
        shard: Whether weights, gradients and moments of all networks are shared out among the processes that torchrun
            launched (FSDP2), so that each needs the memory of its part; for text and dialogue. It takes longer than
            whole copies.
        timeout: Seconds that processes wait for one another before the run ends with an error, as where one evaluates.
            Unset takes PyTorch's, 600 on GPUs and 1800 on CPUs.
        threads: CPU threads of each process. null leaves PyTorch's choice. Small networks are fastest on 1, and at the
            sizes of the SeqGAN paper 2 gain a factor of 1.4 to 1.6, if nothing else runs: on a busy machine they wait
            for each other, and lose a factor of 10 and more.
        log_every: Steps between two lines of metrics.jsonl.
        checkpoint_seconds: Greatest number of seconds without a checkpoint. There is one at the end of each phase, too.
        checkpoint_steps: Steps between two checkpoints, where these shall not depend on the time. Unset goes by
            `checkpoint_seconds`.
        keep_checkpoints: Number of checkpoints that are kept, the latest ones.
        trackers: Accelerate trackers that get the metrics beside metrics.jsonl, such as [tensorboard].
    """

    folder: str | None = None
    budget: str | None = None
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: bool = True
    processes: Count | None = None
    shard: bool = False
    timeout: Positive | None = None
    threads: Threads | None = 1
    log_every: Count = 10
    checkpoint_seconds: NotNegative = 60.0
    checkpoint_steps: Whole | None = None
    keep_checkpoints: Count = 2
    trackers: list[str] = field(default_factory=list)
