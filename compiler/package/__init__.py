"""Compiled models as files: the manifest, the notes, the writer."""
