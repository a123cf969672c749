"""What a film is: nodes with keyframed attributes, sections, captions; and its display list at a time."""
