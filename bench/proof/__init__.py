"""Whether the shop's books say what the data set says, invoice by invoice and to the penny."""
