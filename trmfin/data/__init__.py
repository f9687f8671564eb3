"""Raw tables in, Prepared out: `files` and `delimited` read and write, `header` and `schema` sift, `prepared` holds the result."""
