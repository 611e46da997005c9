"""The store on Redis or Valkey, 6.2 and later, core commands only."""
