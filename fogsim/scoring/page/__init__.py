"""A score as one page of HTML: charts with their text, nothing to load."""
