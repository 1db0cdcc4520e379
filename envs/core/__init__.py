"""What every DLCMDP environment is made of."""
