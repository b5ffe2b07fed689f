"""Generate, store and account for blocks of imagined segments."""
