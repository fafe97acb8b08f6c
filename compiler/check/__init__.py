"""Whether a model computes what it means (`verify`), and where it first does not (`bisect`)."""
