-- The first order is settled and one of its four mirrors came back; the second waits for stock.
INSERT INTO orders
    (id, status, version, revision, sequence, deadline_at, customer_id, channel, currency, total_minor, country,
     on_shortage, is_split_allowed, correlation_id, placed_at, received_at, updated_at)
VALUES
    ('00000000-0000-7000-8000-000000000001', 'settled', 6, 6, 6, NULL, 'ada', 'web', 'GBP', 1020, 'GB',
     'backorder', true, 'a', now(), now(), now()),
    ('00000000-0000-7000-8000-000000000002', 'backordered', 3, 3, 3, now() + interval '1 day', 'ben', 'web', 'GBP', 255,
     'GB', 'backorder', true, 'b', now(), now(), now());
INSERT INTO order_lines (order_id, line, sku, quantity, unit_price_minor, returned_quantity)
VALUES ('00000000-0000-7000-8000-000000000001', 1, 'MIRROR', 3, 255, 1),
       ('00000000-0000-7000-8000-000000000001', 2, 'MIRROR', 1, 255, 0),
       ('00000000-0000-7000-8000-000000000002', 1, 'MIRROR', 1, 255, 0);
INSERT INTO order_timers (order_id, kind, due_at)
VALUES ('00000000-0000-7000-8000-000000000002', 'backorder', now() + interval '1 day');
INSERT INTO payments
    (order_id, version, token, reference, currency, total_minor, authorised_minor, captured_minor, refunded_minor)
VALUES ('00000000-0000-7000-8000-000000000001', 3, 'tok_ok', 'charge-1', 'GBP', 1020, 1020, 1020, 255);
INSERT INTO payments (order_id, token, currency, total_minor)
VALUES ('00000000-0000-7000-8000-000000000002', 'tok_ok', 'GBP', 255);
INSERT INTO payment_commands (id, order_id, kind, amount_minor, status, due_at, created_at, resolved_at)
VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000001', 'capture', 1020, 'succeeded', now(), now(), now());
INSERT INTO sandbox.sandbox_charges (reference, token, currency, authorised_minor, captured_minor, refunded_minor)
VALUES ('charge-1', 'tok_ok', 'GBP', 1020, 1020, 255);
INSERT INTO returns
    (id, order_id, status, version, reason, currency, refund_minor, requested_at, received_at, closed_at)
VALUES ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', 'closed', 3, 'changed mind',
        'GBP', 255, now(), now(), now());
INSERT INTO return_lines (return_id, line, sku, quantity, unit_price_minor, received_quantity, restocked_quantity)
VALUES ('00000000-0000-7000-8000-000000000003', 1, 'MIRROR', 1, 255, 1, 1);
