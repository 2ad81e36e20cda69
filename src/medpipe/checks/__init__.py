"""What `Pipeline.check` and `Pipeline.check_data` do."""
