"""The policy's network, and what the discriminator shares with it: packed batches, attention, one forward pass, shards."""
