"""Ways to learn a classifier: one file each, late-imported by `base.ALGORITHMS`."""
