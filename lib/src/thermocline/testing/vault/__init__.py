"""A small, strict server of Key Vault's secrets, and of the managed identity that signs in to it; docs/testing.md.

Run it with `python -m thermocline.testing.vault --port N --tls`, or from a test with `thermocline.testing.rig.KeyVaultServer`. State is in memory.
"""
