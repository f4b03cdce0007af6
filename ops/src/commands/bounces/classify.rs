//! `malleposte bounces classify`: what servers' replies mean, line by line.

use std::io::{self, BufRead, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use mail::Phase;
use mail::classify::{Finding, Said};
use mail::particular::Failure;
use mail::plain::{Explained, Lang, explain_failure};
use mail::provider::{Providers, classify_at};
use mail::reply::{Reply, clean_text};
use relay::providers;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ended, meaning};
use crate::commands::Global;
use crate::commands::providers::phase;
use crate::commands::trace::lang;

/// What replies mean: category, permanence, what happens to the address, and whom it concerns
///
/// Reads one JSON object a line: `{"stage": "rcpt", "reply": "550 5.1.1 no such user"}`, and answers
/// each in the order given. `stage` is what it was the answer to: dns, connect, banner, ehlo, tls,
/// mail, rcpt, data, dot, returned (told later, by mail) or local; rcpt when it is left out. `at`, a
/// provider, a domain or an exchanger, has that provider's own rules asked first. A line that is none
/// of this is answered by what is wrong with it.
#[derive(Debug, Args)]
pub(super) struct Classify {
    /// Files of such lines; standard input when none is given
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a line, instead of text
    #[arg(long)]
    json: bool,
    /// Language of the explanations: en or fr
    #[arg(long, default_value = "en", value_parser = lang)]
    lang: Lang,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "rcpt", alias = "phase")]
    stage: String,
    reply: String,
    /// Where it was given.
    #[serde(default, alias = "mx", alias = "site")]
    at: String,
}

fn rcpt() -> String {
    Phase::Rcpt.as_str().to_owned()
}

/// A reply, and what it means.
#[derive(Serialize)]
struct Answer {
    code: Option<u16>,
    status: Option<String>,
    #[serde(skip)]
    said: String,
    #[serde(flatten)]
    finding: Finding,
    explanation: Explained,
}

impl Classify {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<ExitCode> {
        let known = providers(&global.read()?.relay.providers)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut is_all_good = true;
        let mut each = |line: &str| {
            let answer = answer(line, &known, self.lang);
            is_all_good &= answer.is_ok();
            let told = match self.json {
                true => as_json(line, &answer).to_string(),
                false => as_text(line, &answer),
            };
            writeln!(out, "{told}")
        };
        let mut done = Ok(());
        if self.files.is_empty() {
            done = lines(io::stdin().lock(), &mut each);
        }
        for path in &self.files {
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            done = done.and_then(|()| lines(io::BufReader::new(file), &mut each));
        }
        ended(done.and_then(|()| out.flush()), is_all_good)
    }
}

/// Each line that is not empty, whatever its octets.
fn lines(mut from: impl BufRead, each: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            each(text.trim())?;
        }
        line.clear();
    }
    Ok(())
}

fn answer(line: &str, known: &Providers, lang: Lang) -> Result<Answer, String> {
    let Asked { stage, reply, at } = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let phase = phase(&stage).map_err(|why| format!("stage {why}"))?;
    let provider = match at.as_str() {
        "" => None,
        at => Some(known.find(at).ok_or_else(|| format!("at {at:?}: no provider is known by it"))?),
    };
    let parsed = Reply::parse_lines(&reply);
    let said = match &parsed {
        Some(reply) => Said::reply(phase, reply),
        None => Said::from_line(phase, &reply),
    };
    let finding = classify_at(provider.map(AsRef::as_ref), &said);
    // No recipient is told of, so no address is said to be misspelt.
    let explanation = explain_failure(&Failure::heard(&said, &finding, None), lang);
    let (code, status) = (said.code, said.status.map(|status| status.to_string()));
    let said = parsed.as_ref().map_or_else(|| clean_text(said.text), ToString::to_string);
    Ok(Answer { code, status, said, finding, explanation })
}

fn as_json(line: &str, answer: &Result<Answer, String>) -> Value {
    match answer {
        Ok(answer) => json!(answer),
        Err(why) => json!({ "error": why, "line": line }),
    }
}

fn as_text(line: &str, answer: &Result<Answer, String>) -> String {
    match answer {
        Ok(answer) => {
            let meaning = meaning(&answer.finding, &answer.explanation);
            format!("{}\n  {}", answer.said, meaning.join("\n  "))
        }
        Err(why) => format!("{line}\n  {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Value {
        let known = Providers::shipped();
        as_json(line, &answer(line, &known, Lang::En))
    }

    #[test]
    fn a_line_is_answered_or_what_is_wrong_with_it() {
        let unknown = told(r#"{"stage": "rcpt", "reply": "550 5.1.1 No such user here"}"#);
        assert_eq!(unknown["category"], "no-mailbox", "{unknown}");
        assert_eq!(
            (&unknown["hygiene"], &unknown["status"]),
            (&json!("suppress"), &json!("5.1.1"))
        );
        let lines = told(r#"{"reply": "550-5.7.1 This message\r\n550 5.7.1 looks like spam"}"#);
        assert_eq!((&lines["category"], &lines["code"]), (&json!("content"), &json!(550)));
        let bare = told(r#"{"stage": "connect", "reply": "Connection refused"}"#);
        assert_eq!((&bare["category"], &bare["code"]), (&json!("network"), &Value::Null));
        for (line, says) in [
            ("no json", "expected"),
            (
                r#"{"stage": "coffee", "reply": "550 x"}"#,
                "stage \"coffee\" is none of dns, connect",
            ),
            (r#"{"reply": "550 x", "at": "nowhere.invalid"}"#, "\"nowhere.invalid\""),
            (r#"{"stage": "rcpt"}"#, "reply"),
            (r#"{"reply": "550 x", "answer": 1}"#, "answer"),
        ] {
            let wrong = told(line);
            assert!(wrong["error"].as_str().unwrap().contains(says), "{wrong}");
            assert_eq!(wrong["line"], line);
        }
    }
}
