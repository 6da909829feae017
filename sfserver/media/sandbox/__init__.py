"""Media work in processes of its own, behind walls."""
