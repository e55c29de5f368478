"""Manages what a deployment has in an AWS account: stacks of CloudFormation, and what must be there beside them."""
