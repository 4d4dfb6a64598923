"""Drawing pairs for reflow under `ray job submit`: the same call as `mocap-ray reflow`, with the same arguments.

ray job submit --working-dir . -- python jobs/reflow.py /shared/runs/motion_flow --out s3://... --n 50000
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["reflow", *sys.argv[1:]])
