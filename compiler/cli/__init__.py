"""What is typed: the commands of `intaglio`, and what they print."""
