"""What a node installs."""
