-- What events add up to. Numbers of minutes, hours and days are counted from 1970, UTC.

-- Whose a campaign is: campaigns are forgotten sooner than their history.
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, sender TEXT NOT NULL);

-- What happened, in words.
CREATE TABLE what (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, judgement INTEGER NOT NULL,
    category INTEGER NOT NULL, UNIQUE (kind, judgement, category));

-- By campaign, relay and source; by site where it has several messages a minute, else 0.
-- `age` is the sum of the times since acceptance, in seconds; `speeds` is how many deliveries took
-- how long, as speed.rs writes it.
CREATE TABLE flow_minute (
    at INTEGER NOT NULL, campaign INTEGER NOT NULL, service INTEGER NOT NULL,
    source INTEGER NOT NULL, site INTEGER NOT NULL, what INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL,
    speeds BLOB,
    PRIMARY KEY (at, campaign, service, source, site, what)) WITHOUT ROWID;
CREATE TABLE flow_hour (
    at INTEGER NOT NULL, campaign INTEGER NOT NULL, service INTEGER NOT NULL,
    source INTEGER NOT NULL, site INTEGER NOT NULL, what INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL,
    speeds BLOB,
    PRIMARY KEY (at, campaign, service, source, site, what)) WITHOUT ROWID;
CREATE TABLE flow_day (
    at INTEGER NOT NULL, campaign INTEGER NOT NULL, service INTEGER NOT NULL,
    source INTEGER NOT NULL, site INTEGER NOT NULL, what INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL,
    speeds BLOB,
    PRIMARY KEY (at, campaign, service, source, site, what)) WITHOUT ROWID;

-- By campaign, source, and every site and recipient's domain.
CREATE TABLE place_hour (
    at INTEGER NOT NULL, campaign INTEGER NOT NULL, source INTEGER NOT NULL,
    site INTEGER NOT NULL, domain INTEGER NOT NULL, what INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL,
    speeds BLOB,
    PRIMARY KEY (at, campaign, source, site, domain, what)) WITHOUT ROWID;
CREATE TABLE place_day (
    at INTEGER NOT NULL, campaign INTEGER NOT NULL, source INTEGER NOT NULL,
    site INTEGER NOT NULL, domain INTEGER NOT NULL, what INTEGER NOT NULL,
    events INTEGER NOT NULL, bytes INTEGER NOT NULL, age INTEGER NOT NULL,
    speeds BLOB,
    PRIMARY KEY (at, campaign, source, site, domain, what)) WITHOUT ROWID;

-- Numbers of the first and the last event that happened in an hour.
CREATE TABLE hour (hour INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
