"""Shows in pages of Airflow's UI how far a run is, by what its steps tell."""
