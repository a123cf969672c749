"""Films as files: SVG, PNG, GIF, WebP, MP4, HTML."""
