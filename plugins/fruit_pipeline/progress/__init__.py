"""How far is a run? What its steps tell, as pages of Airflow's UI."""
