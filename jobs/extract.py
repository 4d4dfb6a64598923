"""Extraction under `ray job submit`: the same call as `mocap-ray extract`, with the same arguments.

ray job submit --working-dir . -- python jobs/extract.py amass --override source.root=... output.root=...
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["extract", *sys.argv[1:]])
