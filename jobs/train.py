"""Training under `ray job submit`: the same call as `mocap-ray train`, with the same arguments.

ray job submit --working-dir . -- python jobs/train.py joint_flow --override data.root=... output.root=...
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["train", *sys.argv[1:]])
