"""An AWS account's part of the product: stacks of CloudFormation, and what an account must have beside them."""
