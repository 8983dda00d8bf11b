"""What azd runs before and after its own steps."""
