-- Bulk insert, indexes, grouping, joins, triggers, JSON, full-text search and deletes, all from a deterministic
-- generator.
PRAGMA journal_mode = WAL;
PRAGMA cache_size = 500;

CREATE TABLE sale (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL, amount INTEGER NOT NULL, note TEXT);
BEGIN;
WITH RECURSIVE n(i, r) AS (
    SELECT 1, 12345
    UNION ALL SELECT i + 1, (r * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 80000)
INSERT INTO sale
SELECT i, 'customer-' || (r / 65536 % 2000), 'item-' || (r / 1024 % 97), r / 4096 % 10000,
       substr(replace(hex(zeroblob(300)), '00', char(97 + i % 26)), 1, r / 256 % 400)
FROM n;
COMMIT;
SELECT 'rows', count(*), sum(amount), sum(length(note)) FROM sale;

CREATE INDEX sale_customer ON sale (customer, amount);
CREATE INDEX sale_item ON sale (item) WHERE amount > 5000;
SELECT 'grouped', customer, count(*), sum(amount), max(note) > 'm' FROM sale
GROUP BY customer ORDER BY sum(amount) DESC LIMIT 15;
SELECT 'concatenated', item, length(group_concat(customer, ';')) FROM sale
WHERE amount > 5000 GROUP BY item ORDER BY item LIMIT 10;
SELECT 'distinct', count(DISTINCT customer || item), count(DISTINCT substr(note, 1, 20)) FROM sale;
SELECT 'joined', count(*), sum(a.amount - b.amount) FROM sale a
JOIN sale b ON a.customer = b.customer AND b.amount = a.amount + 1;
SELECT 'windowed', max(running) FROM (SELECT sum(amount) OVER (PARTITION BY customer ORDER BY id) AS running FROM sale);
SELECT 'json', json_extract(j, '$.total'), json_array_length(j, '$.items'), length(j)
FROM (SELECT json_object('total', sum(amount), 'items', json_group_array(item)) AS j FROM sale WHERE id < 20000);

CREATE TABLE audit (id INTEGER, what TEXT);
CREATE TRIGGER sale_gone AFTER DELETE ON sale BEGIN
    INSERT INTO audit VALUES (old.id, old.customer || ':' || old.item);
END;
DELETE FROM sale WHERE id % 5 = 0;
UPDATE sale SET note = upper(note) || '!' WHERE id % 7 = 0;
SELECT 'changed', (SELECT count(*) FROM audit), (SELECT sum(length(what)) FROM audit), (SELECT sum(length(note)) FROM sale);

CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words SELECT 'number ' || id || ' of ' || customer || ' buys ' || item FROM sale WHERE id < 15000;
SELECT 'found', count(*), min(rowid), max(rowid) FROM words WHERE words MATCH 'item AND 42';

VACUUM;
PRAGMA integrity_check;
