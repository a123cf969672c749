"""From a record to the values that a figure shows: plain numbers and labels, no layout."""
