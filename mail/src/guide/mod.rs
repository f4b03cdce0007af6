//! The guide for people who send campaigns: every category of failure and every kind of mail that
//! comes back, with what happened, what to do, and what becomes of the address. All of it is made from
//! what decides and explains elsewhere, so that it cannot say otherwise.

mod html;
mod labels;
mod markdown;

use crate::category::{Category, Hygiene, Report, words};
use crate::classify::{Own, Permanence, usually};
use crate::hygiene::{Policy, counts_half};
use crate::particular::Particular;
use crate::plain::{Lang, Plain, explain, explain_own, explain_particular, explain_report};
use labels::Labels;

words! {
    /// What the guide is written as.
    Format {
        /// CommonMark.
        Markdown = "md",
        /// One page without scripts, styles or pictures from elsewhere.
        Html = "html",
    }
}

/// The whole guide, where addresses are kept or suppressed by this policy.
#[must_use]
pub fn guide(lang: Lang, format: Format, policy: &Policy) -> String {
    let chapters = chapters(lang, policy);
    match format {
        Format::Markdown => markdown::page(&Labels::of(lang), &chapters),
        Format::Html => html::page(lang, &Labels::of(lang), &chapters),
    }
}

/// A part of the guide.
struct Chapter {
    title: &'static str,
    /// What belongs here.
    about: &'static str,
    entries: Vec<Entry>,
}

/// One category, kind or reason.
struct Entry {
    /// The word in outputs and events, and the anchor of its place.
    word: &'static str,
    /// The same for people; empty where the word alone is enough.
    title: &'static str,
    plain: Plain,
    /// What becomes of the address.
    address: Option<String>,
    /// Whether it is tried again.
    again: Option<&'static str>,
    /// What servers add at times.
    particulars: Vec<String>,
    /// An answer of this kind.
    example: Option<&'static str>,
}

fn chapters(lang: Lang, policy: &Policy) -> Vec<Chapter> {
    let Labels { failures, failures_about, own, own_about, reports, reports_about, .. } =
        Labels::of(lang);
    let failed = Category::ALL.iter().map(|category| of_category(*category, lang, policy));
    let ours = Own::ALL.iter().map(|reason| of_own(*reason, lang, policy));
    let back = Report::ALL.iter().map(|report| of_report(*report, lang));
    vec![
        Chapter { title: failures, about: failures_about, entries: failed.collect() },
        Chapter { title: own, about: own_about, entries: ours.collect() },
        Chapter { title: reports, about: reports_about, entries: back.collect() },
    ]
}

fn of_category(category: Category, lang: Lang, policy: &Policy) -> Entry {
    let samples = Particular::samples(category);
    Entry {
        word: category.as_str(),
        title: labels::category(category, lang),
        plain: explain(category, lang),
        address: Some(address(category, lang, policy)),
        again: Some(again(category, lang)),
        particulars: samples.iter().map(|sample| explain_particular(sample, lang)).collect(),
        example: example(category),
    }
}

fn of_own(own: Own, lang: Lang, policy: &Policy) -> Entry {
    Entry {
        word: own.as_str(),
        title: "",
        plain: explain_own(own, lang),
        address: Some(match own.finding().hygiene {
            Hygiene::None => lang.pick("It is kept.", "Elle est conservée.").into(),
            Hygiene::Suppress | Hygiene::Count => counted(own.finding().category, lang, policy),
        }),
        again: Some(tried(own.is_final(), lang)),
        particulars: Vec::new(),
        example: None,
    }
}

fn of_report(report: Report, lang: Lang) -> Entry {
    let (never, kept, by_reason) = (
        lang.pick("It is never written to again.", "Nous n'y écrivons plus jamais."),
        lang.pick("It is kept.", "Elle est conservée."),
        lang.pick(
            "That depends on the reason: see above.",
            "Cela dépend de la raison : voir plus haut.",
        ),
    );
    let address = match report {
        Report::Failure => by_reason,
        Report::Complaint | Report::OptOut => never,
        Report::Delayed
        | Report::Delivered
        | Report::AutoReply
        | Report::ChallengeResponse
        | Report::AuthReport
        | Report::DmarcAggregate
        | Report::TlsReport
        | Report::Mdn
        | Report::Other => kept,
    };
    Entry {
        word: report.as_str(),
        title: labels::report(report, lang),
        plain: explain_report(report, lang),
        address: Some(address.into()),
        again: None,
        particulars: Vec::new(),
        example: None,
    }
}

/// What becomes of an address, by what a refusal for good and one for now usually do to it.
fn address(category: Category, lang: Lang, policy: &Policy) -> String {
    let hygiene = |said| usually(category, said).hygiene;
    match (hygiene(Permanence::Permanent), hygiene(Permanence::Temporary)) {
        (Hygiene::None, _) => lang.pick("It is kept.", "Elle est conservée.").into(),
        (Hygiene::Suppress, Hygiene::Suppress) => {
            lang.pick("It is never written to again.", "Nous n'y écrivons plus jamais.").into()
        }
        (Hygiene::Suppress, _) => lang.pick(
            "It is never written to again, if the server refuses for good and leaves no doubt; otherwise the failure counts.",
            "Nous n'y écrivons plus jamais si le serveur refuse définitivement et sans équivoque ; sinon l'échec est compté.",
        ).into(),
        (Hygiene::Count, _) => counted(category, lang, policy),
    }
}

/// How many failures it takes.
fn counted(category: Category, lang: Lang, policy: &Policy) -> String {
    let Policy { soft_failures, soft_days, dead_failures, dead_hours, memory_days } = policy;
    let is_dead = matches!(category, Category::NoDomain | Category::MailboxDisabled);
    match (lang, is_dead) {
        (Lang::En, true) => format!(
            "After {dead_failures} failures at least {dead_hours} hours apart it is no longer written to."
        ),
        (Lang::Fr, true) => format!(
            "Après {dead_failures} échecs à au moins {dead_hours} heures d'intervalle, nous n'y écrivons plus."
        ),
        (Lang::En, false) => {
            let half = if counts_half(category) { " This one counts half." } else { "" };
            format!(
                "After {soft_failures} failures over at least {soft_days} days, without a delivery in between, it is no longer written to.{half} A failure is forgotten after {memory_days} days."
            )
        }
        (Lang::Fr, false) => {
            let half = if counts_half(category) { " Celui-ci compte pour moitié." } else { "" };
            format!(
                "Après {soft_failures} échecs sur au moins {soft_days} jours, sans remise entre-temps, nous n'y écrivons plus.{half} Un échec est oublié au bout de {memory_days} jours."
            )
        }
    }
}

fn again(category: Category, lang: Lang) -> &'static str {
    let goes = |said| usually(category, said).goes_again(said);
    match (goes(Permanence::Permanent), goes(Permanence::Temporary)) {
        (false, true) => lang.pick(
            "Yes, unless the server refuses for good (its answer begins with 5).",
            "Oui, sauf si le serveur refuse définitivement (sa réponse commence par 5).",
        ),
        (goes, _) => tried(!goes, lang),
    }
}

fn tried(is_final: bool, lang: Lang) -> &'static str {
    match is_final {
        true => lang.pick("No.", "Non."),
        false => lang.pick("Yes.", "Oui."),
    }
}

/// An answer of the kind, out of the examples of the rule that shows it best.
fn example(category: Category) -> Option<&'static str> {
    let rule = match category {
        Category::NoMailbox => "unknown",
        Category::Moved => "moved",
        Category::NoDomain => "no-domain",
        Category::MailboxDisabled => "disabled",
        Category::MailboxFull => "full",
        Category::RecipientRefused => "personal-refusal",
        Category::TooBig => "too-big",
        Category::Content => "spam",
        Category::ReputationBlock => "listed",
        Category::Policy => "relay",
        Category::Auth => "dmarc",
        Category::RateLimited => "rate",
        Category::Greylisted => "greylist-delay",
        Category::Network => "no-connection",
        Category::Expired => "expired",
        Category::System => "system-full",
        Category::Protocol => "syntax",
        // What no rule knows has no rule with an example.
        Category::Undetermined => return None,
    };
    crate::classify::example_of(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_guides_are_the_generated_ones() {
        let committed = [
            (Lang::En, include_str!("../../../docs/GUIDE.md")),
            (Lang::Fr, include_str!("../../../docs/GUIDE.fr.md")),
        ];
        for (lang, committed) in committed {
            assert!(
                committed == guide(lang, Format::Markdown, &Policy::default()),
                "`malleposte bounces guide --lang {lang}` writes it again, into docs/GUIDE.md or docs/GUIDE.fr.md"
            );
        }
    }

    #[test]
    fn every_example_is_of_the_category_that_it_stands_for() {
        for category in Category::ALL {
            let Some(line) = example(*category) else {
                assert_eq!(*category, Category::Undetermined);
                continue;
            };
            let said = crate::classify::engine::example(line);
            assert_eq!(crate::classify::classify(&said).category, *category, "{line}");
        }
    }

    #[test]
    fn the_page_lets_nothing_in_and_out() {
        for lang in Lang::ALL {
            let page = guide(*lang, Format::Html, &Policy::default());
            for never in
                ["<script", "http://", "https://", "src=", "javascript:", " on", "@import", "url("]
            {
                let markup: String = page
                    .split('>')
                    .map(|part| part.split_once('<').map_or("", |(_, tag)| tag))
                    .collect();
                assert!(!markup.contains(never), "{never}");
            }
            for word in Category::ALL
                .iter()
                .map(|c| c.as_str())
                .chain(Report::ALL.iter().map(|r| r.as_str()))
            {
                assert_eq!(page.matches(&format!(" id=\"{word}\"")).count(), 1, "{word}");
                assert!(page.contains(&format!("href=\"#{word}\"")), "{word}");
            }
            for tag in [
                "html", "head", "body", "main", "nav", "h1", "section", "article", "dl", "ul",
                "style",
            ] {
                let (opened, closed) = (
                    page.matches(&format!("<{tag}>")).count()
                        + page.matches(&format!("<{tag} ")).count(),
                    page.matches(&format!("</{tag}>")).count(),
                );
                assert!(opened == closed && opened > 0, "{tag}: {opened} and {closed}");
            }
        }
    }
}
