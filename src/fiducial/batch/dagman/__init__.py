"""Whole campaigns for DAGMan: written as one DAG, decided on by its own scripts, read from its logs."""
