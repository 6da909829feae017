"""What players are shown of a video: its generations, their tracks and chunks."""
