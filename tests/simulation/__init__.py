"""The real code of relay, consumer, saga and reservations on a bus, a store and a clock that one seed decides."""
