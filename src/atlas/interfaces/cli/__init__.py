"""Atlas on the command line, for people and scripts. May import everything but the other interfaces."""
