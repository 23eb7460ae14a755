//! Relays that deliver late, twice and out of order.
