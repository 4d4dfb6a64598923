"""Motion of jointed rigs: BVH and ASF/AMC texts, their kinematics, and the maps from their joints to SMPL's."""
