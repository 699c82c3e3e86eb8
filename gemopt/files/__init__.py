"""Files: instances, placements, routing traces, profiles and the catalogue."""
