"""Questions about world models, one file and one command each (`pipelines/study.py`)."""
