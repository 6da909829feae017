"""From a source to encoded parts: the plan, the ladder, chunks of picture, the sound."""
