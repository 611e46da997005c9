"""What happens, counted and traced: loaded only where the app's settings ask for it."""
