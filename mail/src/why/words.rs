//! The answer in words, English and French.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Reason, Stands, When};
use crate::plain::Lang;
use crate::time::Timestamp;

/// A moment to the second.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.split('.').next().unwrap_or(&text).replace('T', " "))
}

impl Stands {
    /// Where it stands, in words.
    #[must_use]
    pub fn phrase(self, lang: Lang) -> &'static str {
        let (en, fr) = match self {
            Self::Waits => ("It waits.", "Il attend."),
            Self::InHand => (
                "A relay has it in hand: it is being sent, or about to be.",
                "Un relais l'a en main : l'envoi est en cours ou imminent.",
            ),
            Self::Delivered => ("It was delivered.", "Le message a été remis."),
            Self::Failed => ("It failed for good.", "L'envoi a échoué définitivement."),
            Self::Suppressed => (
                "It is not sent: the address is on a suppression list.",
                "Il n'est pas envoyé : l'adresse est sur une liste d'exclusion.",
            ),
            Self::Expired => (
                "It was not sent in the time that it was given.",
                "Il n'a pas été envoyé dans le délai prévu.",
            ),
            Self::Cancelled => ("Its campaign was cancelled.", "Sa campagne a été annulée."),
            Self::SetAside => (
                "It is set aside: nobody could send it. `malleposte queue asides` says why.",
                "Il est mis de côté : personne n'a pu l'envoyer. `malleposte queue asides` dit pourquoi.",
            ),
            Self::Unknown => (
                "Nothing is known of it: neither the queue nor history has it.",
                "Rien n'est connu : ni la file ni l'historique ne l'ont.",
            ),
        };
        lang.pick(en, fr)
    }
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub fn phrase(&self, lang: Lang) -> String {
        match lang {
            Lang::En => self.english(),
            Lang::Fr => self.french(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::NotStarted { campaign } => format!("campaign {campaign} was not started"),
            Self::Paused { campaign, by } => format!("campaign {campaign} is paused: {by}"),
            Self::Scheduled { at } => format!("its campaign starts at {}", moment(*at)),
            Self::Suspended { words, .. } => format!("suspended by an operator: {words}"),
            Self::NoRelay => "no relay runs".to_owned(),
            Self::Drained => "every relay that runs is drained: it leases nothing".to_owned(),
            Self::Held { words, until, .. } => {
                format!("the site has it wait: {words}, until {}", moment(*until))
            }
            Self::Window { opens } => {
                format!("the hours in which it may go: they begin at {}", moment(*opens))
            }
            Self::Blocked { source, site, until } => format!(
                "{site} blocks the source {source}: but for probes nothing goes before {}",
                moment(*until)
            ),
            Self::UsedUp { source, site, until } => format!(
                "what {source} may send to {site} in an hour or a day is used up: more at {}",
                moment(*until)
            ),
            Self::Attempt { at, made: 0, .. } => {
                format!("its first attempt, not before {}", moment(*at))
            }
            Self::Attempt { at, made, reply } => {
                format!("the next attempt at {}, after {made} that got {reply:?}", moment(*at))
            }
            Self::Pressure { percent, because } => {
                format!(
                    "relays are under pressure and take {percent} % of what they could: {because}"
                )
            }
            Self::Pace { source, site, rate, before, before_max } => format!(
                "its turn: {} from {source} to {site}, where relays hold {before} and {before_max} wait in running campaigns",
                per_second(*rate, "a second")
            ),
        }
    }

    fn french(&self) -> String {
        match self {
            Self::NotStarted { campaign } => format!("la campagne {campaign} n'a pas été lancée"),
            Self::Paused { campaign, by } => format!("la campagne {campaign} est en pause : {by}"),
            Self::Scheduled { at } => format!("sa campagne commence à {}", moment(*at)),
            Self::Suspended { words, .. } => format!("suspendu par un opérateur : {words}"),
            Self::NoRelay => "aucun relais ne tourne".to_owned(),
            Self::Drained => "tous les relais sont en cours d'arrêt et ne prennent rien".to_owned(),
            Self::Held { words, until, .. } => {
                format!("la destination le fait attendre : {words}, jusqu'à {}", moment(*until))
            }
            Self::Window { opens } => {
                format!("les heures d'envoi : elles commencent à {}", moment(*opens))
            }
            Self::Blocked { source, site, until } => format!(
                "{site} bloque la source {source} : sauf des essais, rien ne part avant {}",
                moment(*until)
            ),
            Self::UsedUp { source, site, until } => format!(
                "ce que {source} peut envoyer à {site} en une heure ou un jour est épuisé : la suite à {}",
                moment(*until)
            ),
            Self::Attempt { at, made, reply } => {
                format!("le prochain essai à {}, après {made} qui ont reçu {reply:?}", moment(*at))
            }
            Self::Pressure { percent, because } => format!(
                "les relais sont sous pression et prennent {percent} % de ce qu'ils pourraient : {because}"
            ),
            Self::Pace { source, site, rate, before, before_max } => format!(
                "son tour : {} de {source} vers {site}, où les relais en tiennent {before} et où {before_max} attendent dans les campagnes en cours",
                per_second(*rate, "par seconde")
            ),
        }
    }
}

fn per_second(rate: f64, unit: &str) -> String {
    if rate < 1.0 { format!("{rate:.3} {unit}") } else { format!("{rate:.1} {unit}") }
}

impl When {
    /// The same in words; nothing when it does not wait.
    #[must_use]
    pub fn phrase(&self, lang: Lang) -> String {
        let say = |en: String, fr: String| lang.pick(en, fr);
        match self {
            Self::Over => String::new(),
            Self::Now => say("It goes now.".into(), "Il part maintenant.".into()),
            Self::Between { from, to } if to.since(*from) < Duration::from_secs(2) => say(
                format!("It goes at {}, if nothing new happens.", moment(*from)),
                format!("Il part à {}, sauf imprévu.", moment(*from)),
            ),
            Self::Between { from, to } => say(
                format!(
                    "It goes between {} and {}, if nothing new happens.",
                    moment(*from),
                    moment(*to)
                ),
                format!("Il part entre {} et {}, sauf imprévu.", moment(*from), moment(*to)),
            ),
            Self::Somebody { command } => say(
                format!("It does not go before somebody does this: {command}"),
                format!("Il ne part pas avant que quelqu'un ne fasse ceci : {command}"),
            ),
        }
    }
}

/// The whole answer for a terminal, below a line that says of whom.
#[must_use]
pub fn render(stands: Stands, reasons: &[Reason], when: &When, lang: Lang) -> String {
    let mut text = format!("{}\n", stands.phrase(lang));
    for reason in reasons {
        let _infallible = writeln!(text, "  {} {}", lang.pick("for", "pour"), reason.phrase(lang));
    }
    let when = when.phrase(lang);
    if !when.is_empty() {
        let _infallible = writeln!(text, "{when}");
    }
    text
}
