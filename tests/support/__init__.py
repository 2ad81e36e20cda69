"""What several tests share: files that are drawn, small runs, and programs that are called."""
