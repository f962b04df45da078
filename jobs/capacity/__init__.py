"""What a cluster must be able to do: sizes and money from measured costs, nights by simulation."""
