"""Generating motion under `ray job submit`: the same call as `mocap-ray generate`, with the same arguments.

ray job submit --working-dir . -- python jobs/generate.py MODEL --prompts prompts.jsonl --format dataset --out s3://...
"""

import sys

from mocap_ray.cli import run

if __name__ == "__main__":
    run(["generate", *sys.argv[1:]])
