"""A search under `ray job submit`: the same call as `mocap-ray search`, with the same arguments.

ray job submit --working-dir . -- python jobs/search.py joint_flow --override fixed.data.root=... output.root=...
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["search", *sys.argv[1:]])
