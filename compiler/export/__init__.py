"""Models as C that needs neither Python nor this package: folders of sources, and libraries."""
