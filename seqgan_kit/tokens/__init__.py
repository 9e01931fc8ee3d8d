"""What plays with tokens, whatever they say: sampling, search, the policy, its rewards and credit."""
