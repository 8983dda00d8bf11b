"""What a deployment costs. Pure."""
