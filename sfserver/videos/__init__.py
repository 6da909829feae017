"""Videos, their renditions and their life cycle."""
