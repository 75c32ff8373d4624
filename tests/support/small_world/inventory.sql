-- Ten arrive, four are sold, one of them comes back; the second order waits.
INSERT INTO stock_items (sku, version) VALUES ('MIRROR', 3);
INSERT INTO stock_levels (sku, warehouse, on_hand, reserved, in_transit, shortfall)
VALUES ('MIRROR', 'LON', 7, 0, 0, 0);
INSERT INTO stock_movements (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at, order_id)
VALUES (gen_random_uuid(), 0, 'receipt', 'MIRROR', 'LON', 10, now(), now(), NULL),
       (gen_random_uuid(), 0, 'ship', 'MIRROR', 'LON', -4, now(), now(), '00000000-0000-7000-8000-000000000001'),
       (gen_random_uuid(), 0, 'return', 'MIRROR', 'LON', 1, now(), now(), '00000000-0000-7000-8000-000000000001');
INSERT INTO reservations
    (order_id, status, version, approved_at, on_shortage, is_split_allowed, country, changed_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'committed', 2, now(), 'backorder', true, 'GB', now()),
       ('00000000-0000-7000-8000-000000000002', 'waiting', 1, now(), 'backorder', true, 'GB', now());
INSERT INTO reservation_lines (order_id, sku, warehouse, quantity, committed_quantity)
VALUES ('00000000-0000-7000-8000-000000000001', 'MIRROR', 'LON', 4, 4);
