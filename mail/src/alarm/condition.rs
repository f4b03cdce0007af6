//! What may be wrong, how it is judged, and what it is called.

use std::time::Duration;

use crate::plain::Lang;

crate::category::words! {
    /// What may be wrong.
    Condition {
        /// Mail of priority 0 waits too long.
        UrgentMailWaits = "UrgentMailWaits",
        /// A campaign has been running for more than a day.
        QueueOld = "QueueOld",
        /// Campaigns run, much waits, and nothing is tried.
        NothingGoes = "NothingGoes",
        /// History reads slower than events come.
        OutboxFilling = "OutboxFilling",
        /// It is nearly full: sending slows.
        OutboxFull = "OutboxFull",
        /// Returned mail waits to be taken into account.
        FeedbackWaiting = "FeedbackWaiting",
        /// Much of a campaign fails.
        CampaignBounces = "CampaignBounces",
        /// A campaign is reported as spam.
        CampaignComplaints = "CampaignComplaints",
        /// And by more than providers bear.
        CampaignComplaintsHigh = "CampaignComplaintsHigh",
        /// Much of what goes to a site fails.
        SiteBounces = "SiteBounces",
        /// A site's people report more as spam than providers bear.
        SiteComplaints = "SiteComplaints",
        /// A site blocks a source.
        SourceBlocked = "SourceBlocked",
        /// Nobody sends.
        NoRelay = "NoRelay",
        /// A relay says nothing any more.
        SilentRelay = "SilentRelay",
        /// A relay's host is under pressure.
        RelayPressed = "RelayPressed",
        /// Queue and history count differently.
        AccountsDiffer = "AccountsDiffer",
        /// History cannot be written.
        HistoryStalled = "HistoryStalled",
        /// Redis does not answer.
        RedisAway = "RedisAway",
        /// What Redis is told does not reach its disk.
        RedisNotPersisting = "RedisNotPersisting",
        /// Redis's memory fills.
        RedisMemoryHigh = "RedisMemoryHigh",
        /// It is nearly full: nothing is accepted.
        RedisMemoryFull = "RedisMemoryFull",
        /// Redis takes long to answer.
        RedisSlow = "RedisSlow",
        /// The certificate of returned mail ends soon.
        CertificateEnds = "CertificateEnds",
        /// A signing key is old.
        DkimKeyOld = "DkimKeyOld",
        /// A disk fills.
        DiskLow = "DiskLow",
        /// It is nearly full: history stops.
        DiskFull = "DiskFull",
        /// Nothing: somebody tries whether news arrives.
        Test = "Test",
    }
}

/// How a condition is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// A value beyond this is bad.
    pub raise: f64,
    /// A value on this side of it is good; between the two nothing changes.
    pub clear: f64,
    /// Whether high values are bad, or low ones.
    pub is_high_bad: bool,
    /// How long it must be bad before it is said.
    pub raise_after: Duration,
    /// How long it must be good before that is said.
    pub clear_after: Duration,
    /// Whether somebody must act at once.
    pub is_critical: bool,
}

const fn rule(raise: f64, clear: f64, minutes: u64, is_critical: bool) -> Rule {
    Rule {
        raise,
        clear,
        is_high_bad: clear < raise,
        raise_after: Duration::from_secs(60 * minutes),
        clear_after: Duration::from_secs(120),
        is_critical,
    }
}

impl Condition {
    /// Its rule. Values are shares (0 to 1), seconds, days or counts, as the condition's name and the
    /// reading say.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Self::UrgentMailWaits => rule(900.0, 600.0, 2, true),
            Self::QueueOld => rule(86_400.0, 82_800.0, 30, false),
            Self::NothingGoes => rule(1000.0, 1.0, 30, false),
            Self::OutboxFilling => rule(0.5, 0.4, 5, false),
            Self::OutboxFull => rule(0.9, 0.8, 2, true),
            Self::FeedbackWaiting => rule(5000.0, 2000.0, 10, false),
            Self::CampaignBounces => rule(0.1, 0.08, 10, false),
            Self::CampaignComplaints => rule(0.001, 0.0008, 10, false),
            Self::CampaignComplaintsHigh => rule(0.003, 0.0025, 5, true),
            Self::SiteBounces => rule(0.1, 0.08, 15, false),
            Self::SiteComplaints => rule(0.003, 0.0025, 15, false),
            Self::SourceBlocked => rule(0.5, 0.4, 60, false),
            Self::NoRelay => rule(0.5, 0.6, 3, true),
            Self::SilentRelay => rule(60.0, 30.0, 1, false),
            Self::RelayPressed => rule(0.5, 0.7, 10, false),
            Self::AccountsDiffer => rule(0.5, 0.4, 1, true),
            Self::HistoryStalled => rule(0.5, 0.4, 1, true),
            Self::RedisAway => rule(0.5, 0.4, 1, true),
            Self::RedisNotPersisting => rule(0.5, 0.4, 1, true),
            Self::RedisMemoryHigh => rule(0.85, 0.8, 5, false),
            Self::RedisMemoryFull => rule(0.95, 0.9, 2, true),
            Self::RedisSlow => rule(0.05, 0.03, 10, false),
            Self::CertificateEnds => rule(14.0, 15.0, 60, false),
            Self::DkimKeyOld => rule(400.0, 399.0, 60, false),
            Self::DiskLow => rule(0.1, 0.12, 10, false),
            Self::DiskFull => rule(0.03, 0.05, 2, true),
            Self::Test => rule(f64::MAX, 0.0, 0, false),
        }
    }
}

impl Condition {
    /// What is wrong, for people.
    #[must_use]
    pub fn title(self, lang: Lang) -> &'static str {
        let (en, fr) = match self {
            Self::UrgentMailWaits => ("Urgent mail waits", "Du courrier urgent attend"),
            Self::QueueOld => (
                "A campaign has been running for more than a day",
                "Une campagne tourne depuis plus d’un jour",
            ),
            Self::NothingGoes => {
                ("Mail waits and none is tried", "Du courrier attend et rien n’est tenté")
            }
            Self::OutboxFilling => ("History is behind", "L’historique est en retard"),
            Self::OutboxFull => (
                "History is far behind: sending slows",
                "L’historique est très en retard : l’envoi ralentit",
            ),
            Self::FeedbackWaiting => (
                "Returned mail waits to be taken into account",
                "Des retours attendent d’être pris en compte",
            ),
            Self::CampaignBounces => ("Much of a campaign fails", "Une campagne échoue beaucoup"),
            Self::CampaignComplaints => {
                ("A campaign is reported as spam", "Une campagne est signalée comme spam")
            }
            Self::CampaignComplaintsHigh => (
                "A campaign is reported as spam more than providers bear",
                "Une campagne est signalée comme spam plus que les fournisseurs ne tolèrent",
            ),
            Self::SiteBounces => ("Much of what goes to a site fails", "Un site refuse beaucoup"),
            Self::SiteComplaints => (
                "A site’s people report mail as spam more than providers bear",
                "Les destinataires d’un site signalent plus de courrier que les fournisseurs ne tolèrent",
            ),
            Self::SourceBlocked => ("A site blocks a source", "Un site bloque une source"),
            Self::NoRelay => ("No relay is live", "Aucun relais n’est en service"),
            Self::SilentRelay => ("A relay is silent", "Un relais est muet"),
            Self::RelayPressed => {
                ("A relay’s host is under pressure", "La machine d’un relais est sous pression")
            }
            Self::AccountsDiffer => (
                "Queue and history count differently",
                "La file et l’historique ne comptent pas pareil",
            ),
            Self::HistoryStalled => {
                ("History cannot be written", "L’historique ne peut pas être écrit")
            }
            Self::RedisAway => ("Redis does not answer", "Redis ne répond pas"),
            Self::RedisNotPersisting => {
                ("Redis does not reach its disk", "Redis n’écrit plus sur son disque")
            }
            Self::RedisMemoryHigh => ("Redis’s memory fills", "La mémoire de Redis se remplit"),
            Self::RedisMemoryFull => {
                ("Redis’s memory is nearly full", "La mémoire de Redis est presque pleine")
            }
            Self::RedisSlow => ("Redis takes long to answer", "Redis est lent à répondre"),
            Self::CertificateEnds => ("A certificate ends soon", "Un certificat expire bientôt"),
            Self::DkimKeyOld => ("A DKIM key is old", "Une clé DKIM est ancienne"),
            Self::DiskLow => ("A disk fills", "Un disque se remplit"),
            Self::DiskFull => ("A disk is nearly full", "Un disque est presque plein"),
            Self::Test => ("A test: nothing is wrong", "Un essai : tout va bien"),
        };
        lang.pick(en, fr)
    }
}
