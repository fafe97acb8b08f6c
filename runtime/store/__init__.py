"""Compiled models on disk: the artifact, its checksums, the cache and its keys."""
