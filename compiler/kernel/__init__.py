"""The kernel IR, and programs: what lowering produces, and code generators print."""
