"""Measuring Intaglio against its peers: `python -m bench <command>` in the repository root. Not installed."""
