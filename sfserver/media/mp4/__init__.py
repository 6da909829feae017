"""ISO base media files: fragments, tracks, the virtual file, and the playlists over them."""
