"""SMPL-X parameters of people in images, by networks that are compatible with SMPLest-X (docs/estimation.md).

`load_estimator` reads the weights that `mocap-ray estimator import` wrote; `network.py` holds the network, `read_out.py`
turns what its heads give into rotations and a translation, `camera.py` has the camera that these are seen by.
"""
