"""`mocap-ray ...`: one file for each group of commands, tables and progress bars beside them."""
