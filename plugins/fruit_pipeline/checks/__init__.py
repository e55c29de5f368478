"""Is what the steps wrote there, and is it right?"""
