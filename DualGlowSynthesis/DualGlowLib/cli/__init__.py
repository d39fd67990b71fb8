"""The command line: what each command does, between its arguments and the rooms of the library."""
