//! The ways that news of alarms go: by mail, and by a signed webhook.

use std::sync::Arc;

use bounce_processor::Hop;
use dns::Resolver;
use mail::Address;
use mail::alarm::{News, What};
use mail::plain::Lang;
use mail::reply::clean_text;
use message::{Notice, notice_mail};
use serde_json::{Value, json};
use web::{Hook, Https};

use super::config::Config;
use crate::commands::now;
use crate::wiring::host_name;

/// Who takes news, checked.
pub(crate) struct Ways {
    hook: Option<(Hook, Https)>,
    mails: Vec<Address>,
    from: String,
    hop: Option<Hop>,
    lang: Lang,
    host: String,
}

impl Ways {
    /// The ways that the settings name.
    ///
    /// # Errors
    /// The first setting that cannot be used: its name, what it is, and what is wrong.
    pub(crate) fn new(config: &Config, dns: &dns::Config) -> Result<Self, String> {
        config.check()?;
        let lang = Lang::from_word(&config.language).unwrap_or(Lang::En);
        let mails = config.mail_to.iter().map(|to| address("mail_to", to));
        let mails = mails.collect::<Result<Vec<Address>, String>>()?;
        let host = host_name();
        let from = match config.mail_from.as_str() {
            "" => format!("malleposte@{host}"),
            text => address("mail_from", text)?.as_str().to_owned(),
        };
        let hop = (!mails.is_empty()).then(|| Hop::new(&config.next_hop)).transpose();
        let hop = hop.map_err(|wrong| wrong.to_string())?;
        Ok(Self { hook: hook(config, dns)?, mails, from, hop, lang, host })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hook.is_none() && self.mails.is_empty()
    }

    /// Every way by its name.
    pub(crate) fn names(&self) -> Vec<String> {
        let hook = self.hook.as_ref().map(|_| "webhook".to_owned());
        hook.into_iter().chain(self.mails.iter().map(|to| to.as_str().to_owned())).collect()
    }

    pub(crate) fn are_all(&self, told: &[String]) -> bool {
        self.names().iter().all(|name| told.contains(name))
    }

    /// Tells news to everybody who has not taken it, and answers who has by now.
    pub(crate) async fn tell(&self, news: &News, told: &[String]) -> Vec<String> {
        let mut told = told.to_vec();
        let id = news.id();
        if let Some((hook, https)) = &self.hook
            && !told.iter().any(|name| name == "webhook")
        {
            let body = told_to_programs(news, &self.host).to_string();
            let at_s = now().secs();
            match hook.post(https, &id, at_s, body.into()).await {
                Ok(()) => told.push("webhook".to_owned()),
                Err(error) => tracing::warn!(
                    alarm = id,
                    "the webhook does not take an alarm: {}",
                    store::chain(&error)
                ),
            }
        }
        for (n, to) in self.mails.iter().enumerate() {
            let Some(hop) =
                self.hop.as_ref().filter(|_| !told.iter().any(|name| name == to.as_str()))
            else {
                continue;
            };
            let mail = told_to_people(news, &id, &self.from, to.as_str(), &self.host, self.lang);
            match hop.send(&self.host, &self.from, to.as_str(), &mail).await {
                Ok(()) => told.push(to.as_str().to_owned()),
                // Who it is for stands in the settings, by its place.
                Err(why) => {
                    tracing::warn!(alarm = id, mail_to = n, "an alarm does not go by mail: {why}")
                }
            }
        }
        told
    }
}

fn address(key: &str, text: &str) -> Result<Address, String> {
    text.parse().map_err(|why| format!("{key}: {text:?} {why}"))
}

fn hook(config: &Config, dns: &dns::Config) -> Result<Option<(Hook, Https)>, String> {
    let hook = Hook::of_settings(&config.webhook, &config.webhook_secret_file);
    let Some(hook) = hook.map_err(|wrong| wrong.to_string())? else { return Ok(None) };
    let resolver = Arc::new(Resolver::new(dns).map_err(|e| e.to_string())?);
    Ok(Some((hook, Https::for_hooks(&resolver)?)))
}

/// As programs read it. Text of strangers in it is cleaned.
fn told_to_programs(news: &News, host: &str) -> Value {
    let News { what, alarm, at } = news;
    let rule = alarm.condition.rule();
    json!({
        "type": format!("alarm.{what}"),
        "timestamp": at.to_string(),
        "data": {
            "id": news.id(),
            "condition": alarm.condition,
            "subject": clean_text(&alarm.subject),
            "severity": if rule.is_critical { "critical" } else { "warning" },
            "title": alarm.condition.title(Lang::En),
            "evidence": clean_text(&alarm.says),
            "value": alarm.value,
            "raised_beyond": rule.raise,
            "cleared_within": rule.clear,
            "raised_at": alarm.raised_at.map(|at| at.to_string()),
            "host": host,
        },
    })
}

/// The same as a mail.
fn told_to_people(news: &News, id: &str, from: &str, to: &str, host: &str, lang: Lang) -> Vec<u8> {
    let News { what, alarm, at } = news;
    let (condition, title) = (alarm.condition, alarm.condition.title(lang));
    let (subject, says) = (clean_text(&alarm.subject), clean_text(&alarm.says));
    let what = match what {
        What::Raised => lang.pick("raised", "déclenchée"),
        What::Reminded => lang.pick("still so", "toujours là"),
        What::Cleared => lang.pick("over", "terminée"),
    };
    let about = if subject.is_empty() { String::new() } else { format!(": {subject}") };
    let since = alarm.raised_at.unwrap_or(*at);
    let page = condition.as_str().to_lowercase();
    let lines = match lang {
        Lang::En => format!(
            "{title}{about}\n\n{says}\n\nRaised at {since}; told at {at} by {host}.\nWhat to do: docs/ALERTS.md#{page}\nTo hear no more of it for a while: malleposte alarms silence {condition} --for 4h --why ...\n"
        ),
        Lang::Fr => format!(
            "{title}{about}\n\n{says}\n\nDepuis {since} ; dit à {at} par {host}.\nQue faire : docs/ALERTS.md#{page}\nPour ne plus en entendre parler un moment : malleposte alarms silence {condition} --for 4h --why ...\n"
        ),
    };
    notice_mail(&Notice {
        from,
        to,
        subject: &format!("[malleposte] {title}{about} ({what})"),
        id: (id, host),
        date: *at,
        is_urgent: condition.rule().is_critical,
        text: &lines,
    })
}

#[cfg(test)]
mod tests {
    use mail::Timestamp;
    use mail::alarm::{Alarm, Condition, Standing};
    use mail_parser::MessageParser;

    use super::*;

    fn news(subject: &str, says: &str) -> News {
        let alarm = Alarm {
            condition: Condition::SiteBounces,
            subject: subject.into(),
            standing: Standing::Raised,
            since: Timestamp(0),
            raised_at: Some(Timestamp(60_000)),
            told_at: None,
            value: 0.31,
            says: says.into(),
        };
        News { what: What::Raised, alarm, at: Timestamp(120_000) }
    }

    #[test]
    fn a_mail_about_an_alarm_is_one_whatever_strangers_wrote() {
        let hostile = "mx\r\nBcc: evil@example.net\r\n\r\n<script>\u{202e}é";
        let news = news(hostile, &format!("31 % fail: {hostile}"));
        for lang in Lang::ALL {
            let mail = told_to_people(
                &news,
                &news.id(),
                "malleposte@one",
                "ann@example.org",
                "one",
                *lang,
            );
            let read = MessageParser::default().parse(&mail).expect("a mail");
            let mail = String::from_utf8_lossy(&mail);
            assert!(read.bcc().is_none(), "{mail}");
            let subject = read.subject().expect("a subject");
            assert!(
                subject.starts_with("[malleposte] ") && subject.contains("<script>"),
                "{subject}"
            );
            let body = read.body_text(0).expect("a body");
            assert!(
                body.contains("31 % fail: mx Bcc: evil@example.net <script>") && body.contains("é")
            );
            assert!(
                body.contains("docs/ALERTS.md#sitebounces") && !body.contains('\u{202e}'),
                "{body}"
            );
            let fits = |line: &str| line.len() <= 78 || line.starts_with("Message-ID: ");
            assert!(mail.lines().all(fits), "{mail}");
        }
        assert!(news.id().is_ascii());
        let told = told_to_programs(&news, "one");
        assert_eq!(told["type"], "alarm.raised");
        assert!(!told["data"]["subject"].as_str().unwrap().contains('\n'));
    }

    #[test]
    fn ways_that_lead_nowhere_are_refused_by_name() {
        let refused =
            |config: Config| Ways::new(&config, &dns::Config::default()).err().expect("refused");
        let to = vec!["ann@example.org".to_owned()];
        assert!(
            refused(Config { mail_to: vec!["ann".into()], ..Config::default() })
                .contains("mail_to: \"ann\"")
        );
        assert!(
            refused(Config { language: "de".into(), ..Config::default() })
                .contains("\"de\" is neither")
        );
        assert!(
            refused(Config { remind_hours: 0, ..Config::default() }).contains("remind_hours is 0")
        );
        let mut nowhere = Config { mail_to: to, ..Config::default() };
        nowhere.next_hop.host.clear();
        assert!(refused(nowhere).contains("next_hop.host"));
        let hook = Config { webhook: "https://example.org/x".into(), ..Config::default() };
        assert!(refused(hook).contains("webhook_secret_file"));
        assert!(Ways::new(&Config::default(), &dns::Config::default()).expect("none").is_empty());
    }
}
