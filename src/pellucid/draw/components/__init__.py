"""Parts that several figures draw: sheets, marks, scales, charts, timelines."""
