-- One month of history. `application_id` and `user_version` are set by schema.rs.

-- Every text that comes again: names of services, sources, sites, hosts, rules, replies.
-- Number 0 is the empty text and has no row.
CREATE TABLE word (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX word_hash ON word (hash);

-- An address, in lower case, and the last event about it. To forget a person is to delete this row.
CREATE TABLE recipient (
    id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, local TEXT NOT NULL, domain INTEGER NOT NULL,
    last INTEGER);
CREATE INDEX recipient_hash ON recipient (hash);

-- What many events have in common: each column a word.
CREATE TABLE shape (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL, judgement INTEGER NOT NULL, service INTEGER NOT NULL,
    source INTEGER NOT NULL, site INTEGER NOT NULL, mx INTEGER NOT NULL, phase INTEGER NOT NULL,
    category INTEGER NOT NULL, hygiene INTEGER NOT NULL, scope INTEGER NOT NULL,
    rule INTEGER NOT NULL, tls INTEGER NOT NULL,
    UNIQUE (mx, site, source, rule, tls, service, kind, judgement, phase, category, hygiene, scope));

-- Numbers are in the order of arrival. `count` stands only where one event speaks of
-- several recipients; `wait` is milliseconds from `at` to the next attempt; `before` is the event
-- before this one about the same recipient.
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, shape INTEGER NOT NULL,
    campaign INTEGER, shard INTEGER, seq INTEGER, recipient INTEGER, attempt INTEGER,
    bytes INTEGER, elapsed INTEGER, age INTEGER, count INTEGER, wait INTEGER,
    reply INTEGER, note INTEGER, before INTEGER);
-- Acceptances, and mail that came back without saying about whom: found by the delivery.
CREATE INDEX event_unnamed ON event (shard, seq) WHERE recipient IS NULL AND seq IS NOT NULL;

-- How far each shard was read, and its accounts as of there.
CREATE TABLE shard (shard INTEGER PRIMARY KEY, position TEXT NOT NULL);
CREATE TABLE account (
    shard INTEGER NOT NULL, campaign INTEGER NOT NULL,
    accepted INTEGER NOT NULL, delivered INTEGER NOT NULL, failed INTEGER NOT NULL,
    suppressed INTEGER NOT NULL, expired INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    set_aside INTEGER NOT NULL, deferrals INTEGER NOT NULL, late INTEGER NOT NULL,
    duplicates INTEGER NOT NULL, returned INTEGER NOT NULL, complained INTEGER NOT NULL,
    PRIMARY KEY (shard, campaign)) WITHOUT ROWID;

-- Sums of this month's events. Finer ones (by minute, site, source) belong beside it.
CREATE TABLE tally (
    campaign INTEGER NOT NULL, kind INTEGER NOT NULL, judgement INTEGER NOT NULL,
    category INTEGER NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (campaign, kind, judgement, category)) WITHOUT ROWID;

-- Frames that nobody could read, kept for an operator: field names and octets as they lay.
CREATE TABLE set_aside (
    shard INTEGER NOT NULL, position TEXT NOT NULL, field TEXT NOT NULL, octets BLOB NOT NULL,
    why TEXT NOT NULL, PRIMARY KEY (shard, position, field));

CREATE VIEW history AS
SELECT event.id, at, k.text AS kind, j.text AS judgement, campaign, shard, seq,
    r.local || '@' || d.text AS recipient, event.recipient AS recipient_id, r.domain AS domain_id,
    count, attempt, se.text AS service, so.text AS source, si.text AS site, m.text AS mx,
    p.text AS phase, c.text AS category, h.text AS hygiene, sc.text AS scope, ru.text AS rule,
    t.text AS tls, bytes, elapsed, age, wait, re.text AS reply, n.text AS note
FROM event
-- Cross: the events lead, in their order; never the shapes.
CROSS JOIN shape ON shape.id = event.shape
LEFT JOIN recipient r ON r.id = event.recipient
LEFT JOIN word d ON d.id = r.domain
LEFT JOIN word k ON k.id = shape.kind
LEFT JOIN word j ON j.id = shape.judgement
LEFT JOIN word se ON se.id = shape.service
LEFT JOIN word so ON so.id = shape.source
LEFT JOIN word si ON si.id = shape.site
LEFT JOIN word m ON m.id = shape.mx
LEFT JOIN word p ON p.id = shape.phase
LEFT JOIN word c ON c.id = shape.category
LEFT JOIN word h ON h.id = shape.hygiene
LEFT JOIN word sc ON sc.id = shape.scope
LEFT JOIN word ru ON ru.id = shape.rule
LEFT JOIN word t ON t.id = shape.tls
LEFT JOIN word re ON re.id = event.reply
LEFT JOIN word n ON n.id = event.note;
