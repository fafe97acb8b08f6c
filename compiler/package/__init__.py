"""Compiled models as files: the manifest, the notes, and the writer of artifacts."""
