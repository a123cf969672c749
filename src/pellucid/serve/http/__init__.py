"""HTTP as every server here uses it: the same-origin check and byte ranges."""
