"""The kinds of Assets, one file each: what a version of the kind must say about itself."""
