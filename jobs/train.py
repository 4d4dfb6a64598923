"""Training under `ray job submit`: the same call as `mocap-ray train`, with the same arguments.

ray job submit --working-dir . -- python jobs/train.py joint_flow --override data.root=... output.root=...
"""

import sys

from mocap_ray.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
