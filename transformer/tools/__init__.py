"""Programs round the captioner, run as processes of their own: speech engines (some of them GPL) stay outside."""
