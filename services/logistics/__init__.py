"""Logistics: which parcels an order becomes, which carrier takes each, where it is and when it arrives."""
