"""What does a failure mean, and what is to be done?"""
