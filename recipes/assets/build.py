"""Builds the files of the practice worlds from nothing: tokenizers, models, posts, tasks, and their cards.

    python recipes/assets/build.py                       # both worlds, into recipes/assets; an hour on 2 cores
    python recipes/assets/build.py code                  # one of them
    python recipes/assets/build.py --out runs/world --scale 0.01     # a rehearsal in minutes; the models are useless

All randomness comes from `--seed`: the same machine, thread count and library versions give the same files.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from build_code import build_policy, build_tasks
from build_summaries import build_posts_and_policy, build_reward

Part = Callable[[Path, int, float], None]
WORLDS: dict[str, dict[str, Part]] = {
    "summaries": {"policy": build_posts_and_policy, "reward": build_reward},
    "code": {"tasks": build_tasks, "policy": build_policy},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=f"which of {', '.join(WORLDS)} (default: both)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the folders go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training to do (default: 1.0)")
    parser.add_argument(
        "--only",
        choices=("tasks", "policy", "reward"),
        help="one part of a world; the reward model needs its policy in --out",
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    unknown = set(options.worlds) - set(WORLDS)
    if unknown:
        parser.error(f"no world is called {', '.join(sorted(unknown))}; there are: {', '.join(WORLDS)}")
    torch.set_num_threads(options.threads)
    for world in options.worlds or WORLDS:
        for name, build in WORLDS[world].items():
            if options.only in (None, name):
                build(options.out, options.seed, options.scale)


if __name__ == "__main__":
    main()
