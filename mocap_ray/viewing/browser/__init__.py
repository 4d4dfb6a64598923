"""The page of `mocap-ray view`: the only files that import viser."""
