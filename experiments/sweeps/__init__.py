"""Many runs: what is to be done of them, who does it, and what became of each."""
