"""Films: nodes with keyframed attributes, segments and captions, and their display list at a time."""
