"""The readers of raw data, one a file: the class that bears the file's name."""
