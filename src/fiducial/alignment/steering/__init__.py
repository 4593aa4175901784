"""The steering language of pede."""
