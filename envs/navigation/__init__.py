"""Navigation in the plane, as in the papers on adaptation by gradient."""
