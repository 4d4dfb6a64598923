"""SMPL-X parameters of people in images, by networks that are compatible with SMPLest-X (docs/estimation.md).

`weights.py` reads what `mocap-ray estimator import` wrote; `network.py` is the network, `read_out.py` turns the numbers
of its heads into rotations and a translation, `camera.py` has the cameras, `official.py` reads published checkpoints.
"""
