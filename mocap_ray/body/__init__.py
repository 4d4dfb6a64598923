"""The SMPL family: find and check model files, joints without meshes, a licence-free stand-in."""
