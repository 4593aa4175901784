"""One iteration of an alignment: from ntuples and constants to new constants, as a recipe says."""
