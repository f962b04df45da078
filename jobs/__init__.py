"""One module per job: reads spec and tables, calls the rooms, says what happened."""
