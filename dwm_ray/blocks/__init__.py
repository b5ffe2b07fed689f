"""Generation, storage and accounting of blocks of imagined segments."""
