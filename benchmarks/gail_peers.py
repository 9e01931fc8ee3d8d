"""The peers' half of the GAIL speed benchmark: `imitation` and Stable-Baselines3, each run one line of JSON.

It runs in an environment of its own and imports nothing of seqgan_kit (imitation pins gymnasium 0.29 and SB3 2.2;
without its pins it works with today's). On Linux, torch first and from the CPU index if CUDA is not wanted:
  python3 -m venv /path/peers && /path/peers/bin/pip install torch==2.13.0
  /path/peers/bin/pip install --no-deps imitation==1.0.1
  /path/peers/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 "gymnasium[mujoco,classic-control]==1.4.0" \\
      tensorboard
  OMP_NUM_THREADS=1 /path/peers/bin/python benchmarks/gail_peers.py --task CartPole-v1 --demonstrations FILE.npz
--peer sb3-ppo is SB3's PPO alone with the same settings and the true reward; --raw is gymnasium's SyncVectorEnv with
random actions. Time is that of the training call only, after a warm-up of one round. --demonstrations random
takes 4000 pairs of a seeded random policy: the speed does not depend on who the expert is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

ENVIRONMENTS = 8
RANDOM_PAIRS = 4000
PACKAGES = ("imitation", "stable-baselines3", "gymnasium", "torch", "numpy", "mujoco")

# What SB3 2.9.2 and imitation 1.0.1 do where the tasks below say nothing, spelt out.
PPO_DEFAULTS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "normalize_advantage": True,  # in each minibatch
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
}
POLICY_DEFAULTS: dict[str, Any] = {
    "net_arch": {"pi": [64, 64], "vf": [64, 64]},  # two networks, nothing shared
    "activation_fn": "Tanh",
    "ortho_init": True,
    "log_std_init": 0.0,  # continuous actions: one log standard deviation for each dimension, not a function of state
    "normalize_observations": False,  # True: imitation's RunningNorm before both networks, updated by PPO's minibatches
    "optimizer": "Adam",
    "optimizer_eps": 1e-5,
}
REWARD_NET_DEFAULTS: dict[str, Any] = {
    "hid_sizes": [32, 32],
    "activation": "ReLU",
    "use_state": True,
    "use_action": True,
    "use_next_state": False,
    "use_done": False,
    "normalize_input": False,  # True: RunningNorm, updated by the discriminator's batches
    "normalize_output": False,  # True: as the tuned files have it; GAIL never applies it
}
GAIL_DEFAULTS: dict[str, Any] = {"optimizer": "Adam", "optimizer_lr": 1e-3, "allow_variable_horizon": True}

# CartPole-v1: small rollouts, the rest are defaults. The others: benchmarking/gail_seals_{hopper,half_cheetah}_
# best_hp_eval.json of HumanCompatibleAI/imitation (commit a8be331), whose rl.batch_size 4096 is n_steps * 8.
SETTINGS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "config": "small",
        "environments": ENVIRONMENTS,
        "ppo": {**PPO_DEFAULTS, "n_steps": 128, "batch_size": 256, "n_epochs": 10},
        "policy": POLICY_DEFAULTS,
        "reward_net": REWARD_NET_DEFAULTS,
        "gail": {
            **GAIL_DEFAULTS,
            "demo_batch_size": 512,
            "n_disc_updates_per_round": 4,
            "gen_replay_buffer_capacity": 1024,
        },
    },
    "HalfCheetah-v5": {
        "config": "tuned seals_half_cheetah",
        "environments": ENVIRONMENTS,
        "ppo": {
            **PPO_DEFAULTS,
            "n_steps": 512,
            "batch_size": 64,
            "n_epochs": 5,
            "learning_rate": 0.00026250519057717037,
            "gamma": 0.95,
            "gae_lambda": 0.95,
            "clip_range": 0.1,
            "ent_coef": 3.992371122209408e-6,
            "vf_coef": 0.11483689492120866,
            "max_grad_norm": 0.8,
        },
        # The file's FeedForward32Policy is net_arch [32, 32]: in SB3 1.8 and newer two networks, nothing shared.
        "policy": {**POLICY_DEFAULTS, "net_arch": {"pi": [32, 32], "vf": [32, 32]}, "normalize_observations": True},
        "reward_net": {**REWARD_NET_DEFAULTS, "normalize_input": True, "normalize_output": True},
        "gail": {
            **GAIL_DEFAULTS,
            "demo_batch_size": 8192,
            "n_disc_updates_per_round": 8,
            "gen_replay_buffer_capacity": 512,
        },
    },
    "Hopper-v5": {
        "config": "tuned seals_hopper",
        "environments": ENVIRONMENTS,
        "ppo": {
            **PPO_DEFAULTS,
            "n_steps": 512,
            "batch_size": 512,
            "n_epochs": 20,
            "learning_rate": 4.3984856156897565e-5,
            "gamma": 0.995,
            "gae_lambda": 0.98,
            "clip_range": 0.1,
            "ent_coef": 0.001255299425412744,
            "vf_coef": 0.20315938606555833,
            "max_grad_norm": 0.9,
        },
        "policy": {**POLICY_DEFAULTS, "activation_fn": "ReLU", "normalize_observations": True},
        "reward_net": {**REWARD_NET_DEFAULTS, "normalize_input": True, "normalize_output": True},
        "gail": {
            **GAIL_DEFAULTS,
            "demo_batch_size": 128,
            "n_disc_updates_per_round": 8,
            "gen_replay_buffer_capacity": 4096,
        },
    },
}


def file_demonstrations(path: str, task: str, trajectories: int) -> list[dict[str, Any]]:
    """The first trajectories of a file in the format of seqgan_kit: of each its obs (length + 1), acts and terminal."""
    with np.load(path, allow_pickle=False) as data:
        if str(data["env_id"]) != task:
            raise SystemExit(f"{path} is of {data['env_id']}, not of {task}")
        obs, acts, terminal, lengths = data["obs"], data["acts"], data["terminal"], data["lens"].tolist()
    taken, start = [], 0
    for i, length in enumerate(lengths[:trajectories]):
        taken.append(
            {
                "obs": obs[start + i : start + i + length + 1],
                "acts": acts[start : start + length],
                "terminal": bool(terminal[i]),
            }
        )
        start += length
    return taken


def random_demonstrations(task: str, seed: int) -> list[dict[str, Any]]:
    """RANDOM_PAIRS steps of a random policy; the last trajectory may be cut."""
    import gymnasium

    env = gymnasium.make(task)
    env.action_space.seed(seed)
    taken, left = [], RANDOM_PAIRS
    while left:
        rows, acts, ended, cut = [env.reset(seed=seed + len(taken))[0]], [], False, False
        while left and not (ended or cut):
            acts.append(env.action_space.sample())
            row, _, ended, cut, _ = env.step(acts[-1])
            rows.append(row)
            left -= 1
        taken.append({"obs": np.array(rows, np.float32), "acts": np.array(acts), "terminal": bool(ended)})
    env.close()
    return taken


def make_ppo(task: str, settings: dict[str, Any], seed: int) -> Any:
    import torch
    from imitation.policies.base import NormalizeFeaturesExtractor
    from imitation.util.networks import RunningNorm
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv

    venv = make_vec_env(task, n_envs=settings["environments"], seed=seed, vec_env_cls=DummyVecEnv)
    policy = settings["policy"]
    kwargs = {
        "net_arch": policy["net_arch"],
        "activation_fn": getattr(torch.nn, policy["activation_fn"]),
        "ortho_init": policy["ortho_init"],
        "log_std_init": policy["log_std_init"],
        "optimizer_class": getattr(torch.optim, policy["optimizer"]),
        "optimizer_kwargs": {"eps": policy["optimizer_eps"]},
    }
    if policy["normalize_observations"]:
        kwargs["features_extractor_class"] = NormalizeFeaturesExtractor
        kwargs["features_extractor_kwargs"] = {"normalize_class": RunningNorm}
    return PPO("MlpPolicy", venv, policy_kwargs=kwargs, seed=seed, device="cpu", **settings["ppo"])


def make_gail(task: str, settings: dict[str, Any], seed: int, demonstrations: list[dict[str, Any]]) -> Any:
    import torch
    from imitation.algorithms.adversarial.gail import GAIL
    from imitation.data.types import Trajectory
    from imitation.rewards.reward_nets import BasicRewardNet, NormalizedRewardNet
    from imitation.util import logger
    from imitation.util.networks import RunningNorm

    ppo = make_ppo(task, settings, seed)
    net, gail = settings["reward_net"], settings["gail"]
    reward_net: Any = BasicRewardNet(
        ppo.observation_space,
        ppo.action_space,
        normalize_input_layer=RunningNorm if net["normalize_input"] else None,
        activation=getattr(torch.nn, net["activation"]),
        **{name: net[name] for name in ("hid_sizes", "use_state", "use_action", "use_next_state", "use_done")},
    )
    if net["normalize_output"]:
        reward_net = NormalizedRewardNet(reward_net, RunningNorm)
    return GAIL(
        demonstrations=[Trajectory(infos=None, **trajectory) for trajectory in demonstrations],
        venv=ppo.get_env(),
        gen_algo=ppo,
        reward_net=reward_net,
        disc_opt_cls=getattr(torch.optim, gail["optimizer"]),
        disc_opt_kwargs={"lr": gail["optimizer_lr"]},
        custom_logger=logger.configure(".", []),  # tables on the screen cost time that is not training's
        **{name: gail[name] for name in gail if not name.startswith("optimizer")},
    )


def raw_stepper(task: str, seed: int) -> Callable[[int], None]:
    import gymnasium

    envs = gymnasium.make_vec(task, num_envs=ENVIRONMENTS, vectorization_mode="sync")
    envs.action_space.seed(seed)
    actions = [envs.action_space.sample() for _ in range(1024)]
    envs.reset(seed=seed)

    def step(steps: int) -> None:
        for i in range(steps // ENVIRONMENTS):
            envs.step(actions[i % len(actions)])

    return step


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    settings = json.loads(json.dumps(SETTINGS[options.task]))
    if options.demo_batch_size:
        settings["gail"]["demo_batch_size"] = options.demo_batch_size
    record: dict[str, Any] = {}
    round_steps = settings["environments"] * settings["ppo"]["n_steps"]
    train: Callable[[int], Any]
    if options.raw:
        peer, settings = "gymnasium " + metadata.version("gymnasium"), {"environments": ENVIRONMENTS, "vector": "sync"}
        train = raw_stepper(options.task, options.seed)
    elif options.peer == "sb3-ppo":
        peer = "stable-baselines3 " + metadata.version("stable-baselines3")
        settings = {name: settings[name] for name in ("config", "environments", "ppo", "policy")}
        ppo = make_ppo(options.task, settings, options.seed)

        def train(steps: int) -> None:
            ppo.learn(steps, reset_num_timesteps=False)
    else:
        peer = "imitation " + metadata.version("imitation")
        source = options.demonstrations
        if source == "random":
            taken = random_demonstrations(options.task, options.seed)
            note = "pairs of a seeded random policy; the speed does not depend on who the expert is"
        else:
            taken = file_demonstrations(source, options.task, options.trajectories)
            source, note = os.path.basename(source), f"the file's first {len(taken)} trajectories"
        pairs = sum(len(trajectory["acts"]) for trajectory in taken)
        copies = -(-settings["gail"]["demo_batch_size"] // pairs)
        if copies > 1:
            note += f"; repeated {copies} times, as imitation wants at least demo_batch_size pairs"
        record["demonstrations"] = {"source": source, "pairs": pairs, "copies": copies, "note": note}
        train = make_gail(options.task, settings, options.seed, taken * copies).train

    steps = max(options.steps // round_steps, 1) * round_steps
    with contextlib.redirect_stdout(None):
        train(round_steps)
        wall, cpu = time.perf_counter(), time.process_time()
        train(steps)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "peer": peer,
        "task": options.task,
        "settings": settings,
        **record,
        "seed": options.seed,
        "threads": torch.get_num_threads(),
        "steps": steps,
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "steps_per_wall_second": round(steps / wall, 1),
        "steps_per_cpu_second": round(steps / cpu, 1),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="see the top of the file")
    parser.add_argument("--task", choices=SETTINGS, default="CartPole-v1")
    parser.add_argument("--peer", choices=("imitation", "sb3-ppo"), default="imitation")
    parser.add_argument("--raw", action="store_true", help="no peer: step the environments with random actions")
    parser.add_argument("--demonstrations", default="random", help="an .npz file, or 'random'")
    parser.add_argument("--trajectories", type=int, default=4, help="how many of the file's (the first ones)")
    parser.add_argument("--demo-batch-size", type=int, help="instead of the task's")
    parser.add_argument("--steps", type=int, default=65536, help="rounded down to whole rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.demonstrations != "random":
        options.demonstrations = os.path.abspath(options.demonstrations)
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # MuJoCo leaves a MUJOCO_LOG.TXT where it runs
        result = measure(options)
        os.chdir("/")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
