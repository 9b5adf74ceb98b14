"""How Django writes times where a page does not say."""
