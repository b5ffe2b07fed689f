"""Run folders: layout, storage, synchronisation, logs."""
