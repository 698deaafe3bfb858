"""Series that are made of other series."""
