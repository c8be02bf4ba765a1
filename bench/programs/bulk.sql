-- SPDX-License-Identifier: MIT
--
-- Bulk insert, indexes, joins, grouping and sorting in a database in memory.
--
-- Models the embedded use of SQLite: an application keeps its records in it and asks small questions all the time.
-- SQLite serves the smallest requests from its own "lookaside" memory and asks malloc for pages, records, statements
-- and sorts. The rows are computed from their number, the same in every run. The table `amount` says how many; the
-- runner makes it.
PRAGMA cache_size = -200000;
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE purchase(id INTEGER PRIMARY KEY, customer INTEGER, item TEXT, price REAL, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT rows / 10 FROM amount))
INSERT INTO customer SELECT i, 'name-' || (i * 7919 % 100003), 'city-' || (i * 31 % 97) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT rows FROM amount))
INSERT INTO purchase SELECT i, 1 + i * 104729 % (SELECT rows / 10 FROM amount), 'item-' || (i * 65537 % 5003),
    (i * 131 % 10007) / 100.0, substr('some words about the purchase that were typed by hand', i % 20 + 1, i % 37)
    FROM n;
COMMIT;
CREATE INDEX by_customer ON purchase(customer);
CREATE INDEX by_item ON purchase(item, price);
SELECT count(*), round(sum(price), 2), max(note) FROM purchase;
SELECT city, count(*), round(avg(price), 3) FROM purchase JOIN customer ON customer.id = purchase.customer
    GROUP BY city ORDER BY 3 DESC LIMIT 5;
SELECT item, group_concat(DISTINCT customer % 10) FROM purchase WHERE item LIKE 'item-10%' GROUP BY item
    ORDER BY item LIMIT 5;
SELECT count(*) FROM (SELECT DISTINCT note || '/' || item FROM purchase);
UPDATE purchase SET note = note || '.' WHERE id % 3 = 0;
DELETE FROM purchase WHERE id % 5 = 1;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT rows / 20 FROM amount))
SELECT round(sum((SELECT sum(price) FROM purchase WHERE customer = n.i)), 2) FROM n;
