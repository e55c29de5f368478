"""A cluster that really runs its bootstrap actions and steps on this machine."""
