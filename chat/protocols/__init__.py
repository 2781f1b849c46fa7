"""The wire formats, each in both directions: what is read and written, with its own words for errors. Values in, values
out: no socket, no framework."""
