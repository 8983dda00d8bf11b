"""What people may ask of their data: to be given it (`export`), and to have it erased (`forget`). COHERENCE section 7."""
