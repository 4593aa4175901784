"""What has happened: the only code that speaks SQL."""
