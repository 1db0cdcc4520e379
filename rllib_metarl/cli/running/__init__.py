"""Running experiments through Ray Tune, safely: started, kept, stopped, continued."""
