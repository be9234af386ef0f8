"""Files in, lazy datasets out, and back: no algorithm lives here."""
