"""What Blob Storage and its stand-in, a folder, share: how heads are kept and written (`heads`), their bytes (`wire`), and the spool of large payloads."""
