//! Every metric: its name by Prometheus's rules, what it means, and what to do when it moves.
//! docs/METRICS.md is written from here, and so are the help texts of the page.

use std::fmt::Write as _;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows: look at its rate.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often it was how much: `_bucket`, `_sum`, `_count`.
    Histogram,
}

/// One metric. Its unit is the end of its name: `_seconds`, `_bytes`, `_ratio`; without one it counts.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) means: &'static str,
    pub(crate) when_it_moves: &'static str,
}

/// Metrics about one thing.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) metrics: &'static [Metric],
}

/// All of them.
pub(crate) const CATALOGUE: &[Chapter] = &[
    Chapter {
        title: "Acceptance",
        metrics: &[
            Metric {
                name: "malleposte_api_recipients_accepted_total",
                kind: Kind::Counter,
                labels: &[],
                means: "recipients taken into the queue",
                when_it_moves: "Its rate is what marketing hands in. Zero while campaigns are uploaded: look at `malleposte_api_requests_total` with status 5xx, and at Redis.",
            },
            Metric {
                name: "malleposte_api_recipients_suppressed_total",
                kind: Kind::Counter,
                labels: &[],
                means: "recipients left out at acceptance because they are suppressed",
                when_it_moves: "A sudden share of a list: an old list, or one that was bought.",
            },
            Metric {
                name: "malleposte_api_recipients_refused_total",
                kind: Kind::Counter,
                labels: &["reason"],
                means: "lines refused at acceptance",
                when_it_moves: "Customers send malformed lists: the report of refused lines tells them which.",
            },
            Metric {
                name: "malleposte_api_intake_seconds",
                kind: Kind::Histogram,
                labels: &[],
                means: "closing an upload: checking, sorting, into the queue",
                when_it_moves: "Grows with the list. For the same size: the staging disk or Redis is slow.",
            },
            Metric {
                name: "malleposte_api_requests_total",
                kind: Kind::Counter,
                labels: &["route", "status"],
                means: "requests by class of status",
                when_it_moves: "5xx is ours: see the log. 503 is Redis away or the queue full.",
            },
            Metric {
                name: "malleposte_api_request_seconds",
                kind: Kind::Histogram,
                labels: &["route"],
                means: "how long requests took",
                when_it_moves: "Slow lists and statistics: the disk with the history. Slow uploads: the client.",
            },
            Metric {
                name: "malleposte_api_unsubscriptions_total",
                kind: Kind::Counter,
                labels: &[],
                means: "unsubscriptions by link",
                when_it_moves: "More after a campaign than usual: the wrong list, or too often.",
            },
            Metric {
                name: "malleposte_api_gates_total",
                kind: Kind::Counter,
                labels: &["gate", "did"],
                means: "campaigns that a gate (bounces, complaints) warned of or paused",
                when_it_moves: "`malleposte queue show CAMPAIGN` says why; it goes on when somebody resumes it.",
            },
        ],
    },
    Chapter {
        title: "Queue",
        metrics: &[
            Metric {
                name: "malleposte_queue_recipients",
                kind: Kind::Gauge,
                labels: &["priority"],
                means: "recipients that wait or are being sent, of campaigns that are not finished",
                when_it_moves: "Grows while more comes in than goes out: see what binds the paces. `malleposte queue` tells the campaigns.",
            },
            Metric {
                name: "malleposte_queue_oldest_seconds",
                kind: Kind::Gauge,
                labels: &["priority"],
                means: "how long the campaign has been running that began first of those with recipients left",
                when_it_moves: "A few recipients are retried for days; many of them: `malleposte why ADDRESS`.",
            },
            Metric {
                name: "malleposte_campaigns",
                kind: Kind::Gauge,
                labels: &["status"],
                means: "campaigns that are not over, by status",
                when_it_moves: "Many are paused: gates or people; `malleposte queue orders` tells.",
            },
            Metric {
                name: "malleposte_campaign_failed_ratio",
                kind: Kind::Gauge,
                labels: &["campaign"],
                means: "the share of a campaign's recipients with an end who failed or came back, of those that run and have 100 ends; the 30 largest",
                when_it_moves: "A bad list: dead addresses. Gates pause it by themselves (PACE.md, Gates); `malleposte stats --campaign CAMPAIGN --by category` says why.",
            },
            Metric {
                name: "malleposte_campaign_complained_ratio",
                kind: Kind::Gauge,
                labels: &["campaign"],
                means: "the share of a campaign's deliveries that were reported as spam, alike",
                when_it_moves: "Above 0.001 providers take offence at everything that is sent: stop it, and ask where the list is from.",
            },
            Metric {
                name: "malleposte_site_complained_ratio",
                kind: Kind::Gauge,
                labels: &["site"],
                means: "the share of what was delivered to a site within a week that its people reported as spam, of sites with 1,000 deliveries and 5 complaints; the 30 with most of them, and after 300 names the worst of further ones as `other`",
                when_it_moves: "Above 0.003 the provider takes offence: `malleposte stats --by campaign --site SITE --since 7d` says whose mail it is.",
            },
            Metric {
                name: "malleposte_outbox_fullness_ratio",
                kind: Kind::Gauge,
                labels: &[],
                means: "how full the fullest outbox of events is, 0 to 1",
                when_it_moves: "Above 0.5 the ledger cannot keep up or is away; near 1 sending slows so that nothing is lost.",
            },
            Metric {
                name: "malleposte_feedback_waiting",
                kind: Kind::Gauge,
                labels: &[],
                means: "news of returned mail that no relay has taken yet",
                when_it_moves: "Grows when no relay runs.",
            },
            Metric {
                name: "malleposte_alarms_raised",
                kind: Kind::Gauge,
                labels: &[],
                means: "alarms that are raised, silenced ones included",
                when_it_moves: "`malleposte alarms` lists them with their evidence.",
            },
            Metric {
                name: "malleposte_alarms_untold",
                kind: Kind::Gauge,
                labels: &[],
                means: "news of alarms that a mail server or a webhook has not taken yet",
                when_it_moves: "Above 0 for long: `malleposte alarms try` says who does not take them.",
            },
        ],
    },
    Chapter {
        title: "Relays",
        metrics: &[
            Metric {
                name: "malleposte_relays",
                kind: Kind::Gauge,
                labels: &["state"],
                means: "relays by state: live, draining, silent",
                when_it_moves: "A silent one has stopped without a word: its recipients are others' within seconds. Put it up again; after a day it is forgotten.",
            },
            Metric {
                name: "malleposte_relay_silent_seconds",
                kind: Kind::Gauge,
                labels: &["relay"],
                means: "seconds since a relay was last heard of",
                when_it_moves: "Above 5: its leases pass to others. See its host and its way to Redis.",
            },
            Metric {
                name: "malleposte_relay_leased_total",
                kind: Kind::Counter,
                labels: &[],
                means: "recipients leased",
                when_it_moves: "Its rate beside what is settled: much more leased than settled means recipients are handed back.",
            },
            Metric {
                name: "malleposte_relay_in_hand",
                kind: Kind::Gauge,
                labels: &[],
                means: "recipients held in memory",
                when_it_moves: "At its limit while little is delivered: sites hold them up; see the paces.",
            },
            Metric {
                name: "malleposte_relay_connections",
                kind: Kind::Gauge,
                labels: &[],
                means: "SMTP connections open",
                when_it_moves: "At `relay.connections_max`: more relays, or a higher limit.",
            },
            Metric {
                name: "malleposte_relay_sites",
                kind: Kind::Gauge,
                labels: &[],
                means: "pairs of source and site at work",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_relay_budget",
                kind: Kind::Gauge,
                labels: &[],
                means: "the part of what it could take that the relay takes, 0 to 1, as its host bears it (PACE.md, The host)",
                when_it_moves: "Below 1: `malleposte_relay_pressure` says which resource is short.",
            },
            Metric {
                name: "malleposte_relay_ceiling",
                kind: Kind::Gauge,
                labels: &[],
                means: "the same in messages a second: the budget of what it manages when it is well",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_relay_pressure",
                kind: Kind::Gauge,
                labels: &["cause"],
                means: "how much of the budget each cause takes, 0 to 1; the strongest counts",
                when_it_moves: "cpu, memory, io: something else runs on the host. store: Redis is slow. backlog: ledger or bounce processor are behind.",
            },
            Metric {
                name: "malleposte_relay_providers_refused",
                kind: Kind::Gauge,
                labels: &[],
                means: "1 while an edit of the files about providers is refused and older ones hold",
                when_it_moves: "`malleposte providers check FOLDER` tells what is wrong.",
            },
        ],
    },
    Chapter {
        title: "Delivery",
        metrics: &[
            Metric {
                name: "malleposte_relay_settled_total",
                kind: Kind::Counter,
                labels: &["outcome"],
                means: "recipients by outcome: delivered, failed, deferred, expired, suppressed, cancelled, set_aside, waits, back",
                when_it_moves: "The rate of delivered is the throughput. Much deferred: destinations push back. set_aside: `malleposte queue asides`.",
            },
            Metric {
                name: "malleposte_relay_attempts_total",
                kind: Kind::Counter,
                labels: &["site", "outcome"],
                means: "attempts by site and what came of them: delivered, deferred, failed. The busiest sites have names, all else is `other`",
                when_it_moves: "One site defers where others deliver: `malleposte site show SITE`.",
            },
            Metric {
                name: "malleposte_relay_failed_attempts_total",
                kind: Kind::Counter,
                labels: &["category", "phase"],
                means: "attempts that did not deliver, by what it means and in which phase",
                when_it_moves: "reputation-block or auth: mail of ours is refused for what we are; see deliverability first.",
            },
            Metric {
                name: "malleposte_relay_transaction_seconds",
                kind: Kind::Histogram,
                labels: &[],
                means: "one message, from MAIL to the last answer",
                when_it_moves: "Slow servers, or a slow network; by phase below.",
            },
            Metric {
                name: "malleposte_relay_smtp_seconds",
                kind: Kind::Histogram,
                labels: &["phase"],
                means: "how long a server let us wait for one reply, by what it replied to; `connect` is TCP, `tls` the answer to STARTTLS and the handshake",
                when_it_moves: "connect: the network. banner: a tarpit or a full server. dot: content is being scanned.",
            },
            Metric {
                name: "malleposte_relay_sessions_total",
                kind: Kind::Counter,
                labels: &["outcome"],
                means: "connections that were tried: verified, unverified, plain (by what TLS is worth), tls-failed, not-connected, refused",
                when_it_moves: "Many not-connected: the network or a firewall. tls-failed: certificates, or a policy (MTA-STS, DANE) that a site does not meet.",
            },
            Metric {
                name: "malleposte_relay_sent_bytes_total",
                kind: Kind::Counter,
                labels: &[],
                means: "octets of messages",
                when_it_moves: "Beside the bandwidth that there is.",
            },
            Metric {
                name: "malleposte_relay_permits_total",
                kind: Kind::Counter,
                labels: &[],
                means: "messages that the paces of sites allowed",
                when_it_moves: "Its rate is what the paces allow; when it is well above what is delivered, something else binds.",
            },
            Metric {
                name: "malleposte_relay_quota_full_total",
                kind: Kind::Counter,
                labels: &["source"],
                means: "times that a source had used up an hour or a day at some provider",
                when_it_moves: "A ceiling or warm-up that is too low for what is sent, or meant so: `malleposte warmup`.",
            },
            Metric {
                name: "malleposte_relay_holds_total",
                kind: Kind::Counter,
                labels: &["kind", "cause"],
                means: "holds that this relay set or prolonged: of a sender domain, tenant, campaign or link domain at a site",
                when_it_moves: "`malleposte queue orders` lists them with their evidence.",
            },
            Metric {
                name: "malleposte_relay_settle_seconds",
                kind: Kind::Histogram,
                labels: &[],
                means: "how long Redis took to make outcomes durable",
                when_it_moves: "Above 0.1: Redis's disk, or the way to it.",
            },
            Metric {
                name: "malleposte_relay_unsettled",
                kind: Kind::Gauge,
                labels: &[],
                means: "outcomes that Redis has not confirmed",
                when_it_moves: "Stays high: Redis is away or slow. They are kept in memory and settled when it is back.",
            },
            Metric {
                name: "malleposte_dns_answers_total",
                kind: Kind::Counter,
                labels: &["answer"],
                means: "found, remembered, no-such-name, no-record, failed",
                when_it_moves: "failed: the resolver is away or slow; mail to those domains waits.",
            },
            Metric {
                name: "malleposte_mta_sts_fetches_total",
                kind: Kind::Counter,
                labels: &["result"],
                means: "MTA-STS policies asked for: fetched, failed",
                when_it_moves: "failed: the web servers of those domains, or our way to them.",
            },
            Metric {
                name: "malleposte_dkim_oldest_key_seconds",
                kind: Kind::Gauge,
                labels: &[],
                means: "age of the oldest DKIM key that signs",
                when_it_moves: "After a year rotate it: `malleposte dkim rotate DOMAIN`; `malleposte dkim list` tells the ages.",
            },
            Metric {
                name: "malleposte_relay_tls_reports_total",
                kind: Kind::Counter,
                labels: &["by", "result"],
                means: "TLS reports by way (mail, https) and result of each try: sent, failed, refused; `dropped` (by `all`): given up",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_relay_tls_uncounted_total",
                kind: Kind::Counter,
                labels: &[],
                means: "TLS sessions, or flushes of a domain, that reports had no room to count",
                when_it_moves: "",
            },
        ],
    },
    Chapter {
        title: "Sent twice: the bound and its terms",
        metrics: &[
            Metric {
                name: "malleposte_relay_unsettled_max",
                kind: Kind::Gauge,
                labels: &[],
                means: "what a kill could double at most: connections × `relay.unsettled_max`",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_relay_unanswered_total",
                kind: Kind::Counter,
                labels: &[],
                means: "final dots that got no answer: the recipient may have the message and is tried again",
                when_it_moves: "A site or a middlebox that cuts connections after the message.",
            },
            Metric {
                name: "malleposte_relay_late_total",
                kind: Kind::Counter,
                labels: &[],
                means: "deliveries settled after their lease was lost",
                when_it_moves: "A relay that was stopped for seconds (SIGSTOP, a suspended VM), or lost Redis.",
            },
            Metric {
                name: "malleposte_relay_duplicates_total",
                kind: Kind::Counter,
                labels: &[],
                means: "deliveries of a recipient that was done already",
                when_it_moves: "Each is a message sent twice; it must stay below the bound of QUEUE.md.",
            },
            Metric {
                name: "malleposte_relay_refused_settles_total",
                kind: Kind::Counter,
                labels: &[],
                means: "outcomes that came too late to count",
                when_it_moves: "",
            },
        ],
    },
    Chapter {
        title: "Pace",
        metrics: &[
            Metric {
                name: "malleposte_pace_rate",
                kind: Kind::Gauge,
                labels: &["source", "site"],
                means: "messages a second that were found to go, of the paces with the most to do",
                when_it_moves: "Falls where a site pushes back; `malleposte site show SITE` tells each change and its reason.",
            },
            Metric {
                name: "malleposte_pace_rate_refused",
                kind: Kind::Gauge,
                labels: &["source", "site"],
                means: "the rate at which the site last refused; 0: never",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_pace_connections",
                kind: Kind::Gauge,
                labels: &["source", "site"],
                means: "connections open there, of all relays",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_pace_connections_max",
                kind: Kind::Gauge,
                labels: &["source", "site"],
                means: "connections that the site was found to take",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_pace_waiting",
                kind: Kind::Gauge,
                labels: &["source", "site"],
                means: "recipients that wait there in the hands of relays",
                when_it_moves: "Grows while the rate binds.",
            },
            Metric {
                name: "malleposte_pace_binding",
                kind: Kind::Gauge,
                labels: &["source", "site", "what"],
                means: "1 for what keeps more from going there: hold, ceiling, rate, connections, answers, nothing",
                when_it_moves: "hold: the site blocks the source. ceiling: an hour or a day is used up.",
            },
            Metric {
                name: "malleposte_paces",
                kind: Kind::Gauge,
                labels: &[],
                means: "pairs of source and site that a pace is known of",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_paces_blocked",
                kind: Kind::Gauge,
                labels: &[],
                means: "pairs of source and site that the site blocks now: only probes go",
                when_it_moves: "`malleposte queue rests` lists them. Look at the reason, and at block lists, before you release one.",
            },
        ],
    },
    Chapter {
        title: "Returned mail",
        metrics: &[
            Metric {
                name: "malleposte_bounces_received_total",
                kind: Kind::Counter,
                labels: &["kind"],
                means: "mails taken, by what they are",
                when_it_moves: "None while mail is sent: the MX of the return path, or its port 25, is not reached.",
            },
            Metric {
                name: "malleposte_bounces_returned_total",
                kind: Kind::Counter,
                labels: &["category"],
                means: "deliveries that came back",
                when_it_moves: "A share of a campaign: its list. Of one site: it accepts first and refuses later.",
            },
            Metric {
                name: "malleposte_bounces_suppressing_total",
                kind: Kind::Counter,
                labels: &["reason"],
                means: "events after which the address is suppressed",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_bounces_unmatched_total",
                kind: Kind::Counter,
                labels: &[],
                means: "reports that prove no message of ours, or name nobody whom one went to",
                when_it_moves: "Forged reports, or return paths of another platform or of lost keys: `malleposte bounces unmatched`.",
            },
            Metric {
                name: "malleposte_bounces_kept_total",
                kind: Kind::Counter,
                labels: &["folder"],
                means: "mails kept for a person: inbox, replies, unmatched",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_bounces_handle_seconds",
                kind: Kind::Histogram,
                labels: &[],
                means: "one mail, from its end to durable",
                when_it_moves: "Redis is slow, or many arrive at once.",
            },
            Metric {
                name: "malleposte_bounces_connections",
                kind: Kind::Gauge,
                labels: &[],
                means: "open connections",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_bounces_refused_total",
                kind: Kind::Counter,
                labels: &["reason"],
                means: "connections and recipients refused",
                when_it_moves: "busy: more connections than it takes. early: clients that talk before the greeting. Else mail for addresses that are none of ours.",
            },
            Metric {
                name: "malleposte_bounces_put_off_total",
                kind: Kind::Counter,
                labels: &[],
                means: "mails answered \"come again\"",
                when_it_moves: "Redis is away, or the disk is full.",
            },
            Metric {
                name: "malleposte_bounces_tls_total",
                kind: Kind::Counter,
                labels: &["outcome"],
                means: "TLS that was begun with STARTTLS",
                when_it_moves: "failed: the certificate in `bounces.tls`.",
            },
            Metric {
                name: "malleposte_bounces_certificate_expires_timestamp_seconds",
                kind: Kind::Gauge,
                labels: &[],
                means: "when the certificate of `bounces.tls` ends, in seconds since 1970; 0: it does not say",
                when_it_moves: "Two weeks before: whatever renews it has failed. New files are read within half a minute.",
            },
            Metric {
                name: "malleposte_bounces_imap_looks_total",
                kind: Kind::Counter,
                labels: &["outcome"],
                means: "looks into IMAP mailboxes",
                when_it_moves: "failed: password, certificate or server of the mailbox; the log says which.",
            },
            Metric {
                name: "malleposte_bounces_replies_waiting",
                kind: Kind::Gauge,
                labels: &[],
                means: "answers of people that have not gone every way yet",
                when_it_moves: "The mail server or webhook of `bounces.replies` does not take them.",
            },
            Metric {
                name: "malleposte_bounces_replies_passed_total",
                kind: Kind::Counter,
                labels: &["way"],
                means: "answers that a way (mail, webhook) has taken",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_bounces_replies_put_off_total",
                kind: Kind::Counter,
                labels: &[],
                means: "answers that a way did not take; they are tried again",
                when_it_moves: "",
            },
        ],
    },
    Chapter {
        title: "History",
        metrics: &[
            Metric {
                name: "malleposte_imbalance",
                kind: Kind::Gauge,
                labels: &[],
                means: "recipients by which queue and history disagree; must be 0",
                when_it_moves: "OPERATIONS.md, When something is wrong.",
            },
            Metric {
                name: "malleposte_ledger_events_total",
                kind: Kind::Counter,
                labels: &[],
                means: "events stored",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_ledger_lag_seconds",
                kind: Kind::Gauge,
                labels: &[],
                means: "age of the oldest event not yet in history",
                when_it_moves: "Above 60: the disk of the history is slow or full; mail goes on until the outbox is full.",
            },
            Metric {
                name: "malleposte_ledger_stalled",
                kind: Kind::Gauge,
                labels: &[],
                means: "1: history cannot be written",
                when_it_moves: "The log says why: a full disk, rights, a newer program's file.",
            },
            Metric {
                name: "malleposte_ledger_store_seconds",
                kind: Kind::Histogram,
                labels: &[],
                means: "time to store a page of events",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_ledger_frames_set_aside_total",
                kind: Kind::Counter,
                labels: &[],
                means: "frames of events that did not read",
                when_it_moves: "They are kept in the month's file; report it.",
            },
            Metric {
                name: "malleposte_ledger_files_set_aside_total",
                kind: Kind::Counter,
                labels: &[],
                means: "damaged months",
                when_it_moves: "The file is kept beside the others; bring it back from a backup.",
            },
            Metric {
                name: "malleposte_ledger_shards_uncompared",
                kind: Kind::Gauge,
                labels: &[],
                means: "shards whose accounts could not be compared this time",
                when_it_moves: "A server of Redis is away.",
            },
        ],
    },
    Chapter {
        title: "Redis",
        metrics: &[
            Metric {
                name: "malleposte_redis_up",
                kind: Kind::Gauge,
                labels: &[],
                means: "1: all of the platform's servers answer those who watch",
                when_it_moves: "0: see the servers and the network; relays hold what they have and go on when it is back.",
            },
            Metric {
                name: "malleposte_redis_latency_seconds",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "how long a server took to answer",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_redis_memory_bytes",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "octets of its data",
                when_it_moves: "Near its limit Redis takes no more recipients: give it more, or send less at a time.",
            },
            Metric {
                name: "malleposte_redis_memory_max_bytes",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "the most that it may have; 0: no limit",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_redis_clients",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "connections",
                when_it_moves: "",
            },
            Metric {
                name: "malleposte_redis_replicas",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "replicas that follow",
                when_it_moves: "Fewer than there should be: a failover would lose what durability promised, or nobody takes over.",
            },
            Metric {
                name: "malleposte_redis_persisting",
                kind: Kind::Gauge,
                labels: &["server"],
                means: "1: its last write to disk went well",
                when_it_moves: "0: what is accepted is not on its disk. See its log and disk at once.",
            },
            Metric {
                name: "malleposte_redis_restarts_total",
                kind: Kind::Counter,
                labels: &[],
                means: "the private Redis, started again",
                when_it_moves: "It was killed or crashed: see the log, and the host's memory.",
            },
        ],
    },
    Chapter {
        title: "Processes",
        metrics: &[
            Metric {
                name: "malleposte_disk_free_bytes",
                kind: Kind::Gauge,
                labels: &["folder"],
                means: "room in the data folder's file system",
                when_it_moves: "Staging, history and returned mail need it: below a tenth make room.",
            },
            Metric {
                name: "malleposte_disk_bytes",
                kind: Kind::Gauge,
                labels: &["folder"],
                means: "size of that file system",
                when_it_moves: "",
            },
            Metric {
                name: "process_cpu_seconds_total",
                kind: Kind::Counter,
                labels: &[],
                means: "processor time of the process",
                when_it_moves: "",
            },
            Metric {
                name: "process_resident_memory_bytes",
                kind: Kind::Gauge,
                labels: &[],
                means: "memory of the process",
                when_it_moves: "",
            },
            Metric {
                name: "process_virtual_memory_bytes",
                kind: Kind::Gauge,
                labels: &[],
                means: "address space of the process",
                when_it_moves: "",
            },
            Metric {
                name: "process_virtual_memory_max_bytes",
                kind: Kind::Gauge,
                labels: &[],
                means: "the most that it may have",
                when_it_moves: "",
            },
            Metric {
                name: "process_open_fds",
                kind: Kind::Gauge,
                labels: &[],
                means: "open descriptors",
                when_it_moves: "Near the limit: raise LimitNOFILE.",
            },
            Metric {
                name: "process_max_fds",
                kind: Kind::Gauge,
                labels: &[],
                means: "the most that it may have",
                when_it_moves: "",
            },
            Metric {
                name: "process_threads",
                kind: Kind::Gauge,
                labels: &[],
                means: "threads",
                when_it_moves: "",
            },
            Metric {
                name: "process_start_time_seconds",
                kind: Kind::Gauge,
                labels: &[],
                means: "when it started, in seconds since 1970",
                when_it_moves: "A start that nobody ordered: a crash; see the log.",
            },
        ],
    },
];

impl Metric {
    fn unit(&self) -> Unit {
        let name = self.name.trim_end_matches("_total");
        match name {
            _ if name.ends_with("_seconds") => Unit::Seconds,
            _ if name.ends_with("_bytes") => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

/// Tells the recorder what each metric means.
pub(crate) fn describe() {
    for metric in CATALOGUE.iter().flat_map(|chapter| chapter.metrics) {
        // The process's own describe themselves.
        if metric.name.starts_with("process_") {
            continue;
        }
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit(), metric.means),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit(), metric.means),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit(), metric.means),
        }
    }
}

/// The page for people: docs/METRICS.md.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Every process serves a page for Prometheus at `metrics.listen`, `http://127.0.0.1:9464/metrics` unless it is\n\
         configured otherwise. Each metric has the label `service` (up, relay, bounces, api, ledger). What concerns the\n\
         whole platform (queue, paces, relays, Redis) is on the page of the process that runs the ledger. Labels are\n\
         bounded: of sites the busiest have names, the others are `other` or left out. Units stand at the end of names;\n\
         times are seconds, sizes octets. Ready queries are in `ops/dashboards/`, alerts in `ops/alerts/`.\n\n\
         This page is written by `malleposte check --print-metrics`.\n",
    );
    for Chapter { title, metrics } in CATALOGUE {
        let _infallible = write!(
            page,
            "\n## {title}\n\n| name | | what it is | when it moves |\n|---|---|---|---|\n"
        );
        for Metric { name, kind, labels, means, when_it_moves } in *metrics {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: String = labels.iter().map(|label| format!(", `{label}`")).collect();
            let _infallible =
                writeln!(page, "| `{name}` | {kind}{labels} | {means} | {when_it_moves} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Names in the sources of all crates, as they are recorded.
    fn recorded(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                recorded(&path, names);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("catalogue.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                for call in ["counter!(", "gauge!(", "histogram!("] {
                    for (at, _) in text.match_indices(call) {
                        let rest = text[at + call.len()..].trim_start();
                        let name = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
                        names.extend(
                            name.filter(|n| n.starts_with("malleposte_")).map(str::to_owned),
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_recorded_is_in_the_catalogue_and_nothing_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut names = BTreeSet::new();
        for part in
            ["relay", "bounce-processor", "campaign-api", "ledger", "store", "dns", "web", "ops"]
        {
            recorded(&root.join(part).join("src"), &mut names);
        }
        let all = CATALOGUE.iter().flat_map(|chapter| chapter.metrics).map(|metric| metric.name);
        let told: BTreeSet<String> =
            all.filter(|name| name.starts_with("malleposte_")).map(str::to_owned).collect();
        let missing: Vec<_> = names.difference(&told).collect();
        let gone: Vec<_> = told.difference(&names).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "not told: {missing:?}; not recorded: {gone:?}"
        );
    }

    #[test]
    fn names_go_by_the_rules_of_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in CATALOGUE.iter().flat_map(|chapter| chapter.metrics) {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            if metric.kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}: its buckets are seconds");
            }
            assert!(!metric.means.is_empty() && !metric.means.contains('|'), "{name}");
        }
    }

    #[test]
    fn the_page_in_the_documents_is_this_one() {
        let told =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md"));
        assert!(
            told.is_ok_and(|told| told == page()),
            "docs/METRICS.md is old: malleposte check --print-metrics > docs/METRICS.md"
        );
    }
}
