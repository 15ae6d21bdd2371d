"""Where other rooms keep what outlives the process; one driver a file."""
