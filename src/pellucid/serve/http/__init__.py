"""HTTP as every server here uses it: connections, lifetimes of requests, the same-origin check, keys, limits, byte ranges."""
