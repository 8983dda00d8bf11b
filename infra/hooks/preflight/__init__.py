"""What the check before provisioning looks at. Standard library only: it runs before anything is installed."""
