"""The command line: the commands of `intaglio`, and what they print."""
