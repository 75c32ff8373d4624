"""The catalog: what the shop sells, under which names and at what prices, and how it is found."""
