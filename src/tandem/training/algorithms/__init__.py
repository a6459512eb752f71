"""Ways to learn a model: one file each, late-imported by `base.ALGORITHMS`."""
