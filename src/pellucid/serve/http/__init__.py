"""HTTP as every server here uses it: connections, the lifetime of a request, the same-origin check, JSON and byte ranges."""
