"""Pure guards that the executor applies before every order, and the room of the watchdog."""
