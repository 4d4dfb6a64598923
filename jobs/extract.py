"""Extraction under `ray job submit`: the same call as `mocap-ray extract`, with the same arguments.

ray job submit --working-dir . -- python jobs/extract.py amass --override source.root=... output.root=...
"""

import sys

from mocap_ray.cli.main import main

if __name__ == "__main__":
    main(["extract", *sys.argv[1:]])
