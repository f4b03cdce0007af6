-- What events add up to. Numbers of minutes, hours and days are counted from 1970, UTC.

-- Whose a campaign is: campaigns are forgotten sooner than their history.
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, sender TEXT NOT NULL);

-- What happened, in words.
CREATE TABLE what (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, judgement INTEGER NOT NULL,
    category INTEGER NOT NULL, UNIQUE (kind, judgement, category));

-- The tables of the sums themselves are made by schema.rs, of the columns in sums.rs.

-- Numbers of the first and the last event that happened in an hour.
CREATE TABLE hour (hour INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
