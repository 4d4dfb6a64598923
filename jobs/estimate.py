"""Estimation under `ray job submit`: the same call as `mocap-ray estimate`, with the same arguments.

ray job submit --working-dir . -- python jobs/estimate.py /shared/walk.mp4 --out /shared/out --checkpoint ...
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["estimate", *sys.argv[1:]])
