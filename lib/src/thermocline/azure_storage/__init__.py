"""What the tiers on Azure Storage share: errors, sessions, calls within a deadline, the service's clock. What differs by service is in the tiers."""
